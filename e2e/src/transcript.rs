//! Pages with commands and all that they print, which a test runs, compares and writes anew.

pub mod normal;

use anyhow::bail;

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A line that is copied.
    Text(String),
    /// A command after `$ `, with the lines of its here-document, and the output below it.
    Command {
        /// The shell command.
        command: String,
        /// What the page shows, a line each.
        output: Vec<String>,
    },
}

/// The parts of a page. Commands are in blocks of type `console`.
pub fn parse(page: &str) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut lines = page.lines().peekable();
    let mut console = false;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            console = line == "```console";
        }
        let Some(first) = line.strip_prefix("$ ").filter(|_| console) else {
            parts.push(Part::Text(line.to_owned()));
            continue;
        };
        let mut command = first.to_owned();
        if first.contains("<<'END'") || first.contains("<<END") {
            loop {
                let Some(next) = lines.next() else { bail!("a here-document has no END: {first}") };
                command += &format!("\n{next}");
                if next == "END" {
                    break;
                }
            }
        }
        let mut output = Vec::new();
        while let Some(shown) = lines.next_if(|next| !next.starts_with("$ ") && *next != "```") {
            output.push(shown.to_owned());
        }
        parts.push(Part::Command { command, output });
    }
    Ok(parts)
}

/// The page of these parts.
pub fn print(parts: &[Part]) -> String {
    let mut page = String::new();
    for part in parts {
        match part {
            Part::Text(line) => page += &format!("{line}\n"),
            Part::Command { command, output } => {
                page += &format!("$ {command}\n");
                output.iter().for_each(|line| page += &format!("{line}\n"));
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_parsed_and_printed() {
        let page = "# Title\n\n```console\n$ cat > a <<'END'\n$ x\nEND\n$ one\nout\n\nmore\n$ two\n```\n$ no command\n";
        let parts = parse(page).unwrap();
        let commands: Vec<(&str, usize)> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Command { command, output } => Some((command.as_str(), output.len())),
                Part::Text(_) => None,
            })
            .collect();
        assert_eq!(commands, [("cat > a <<'END'\n$ x\nEND", 0), ("one", 3), ("two", 0)]);
        assert_eq!(print(&parts), page);
        assert!(parse("```console\n$ cat <<'END'\n").is_err());
    }
}
