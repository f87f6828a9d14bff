//! The commands of the user's guide, and what they print, as its pages show them.

use anyhow::bail;

/// A command with the output that the page shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the page, from 1.
    pub line: usize,
    /// A shell command, of several lines if one ends with a backslash or opens a here-document.
    pub command: String,
    /// The lines of output that the page shows; `…` stands for any text.
    pub output: Vec<String>,
}

/// The commands after a `$` in the console blocks of a page. Those with another prompt, as `server$` and `root#`, are for other
/// machines or need an installed package.
pub fn steps(page: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((_, opening)) = lines.next() {
        if opening.trim() != "```console" {
            continue;
        }
        // Whether the last command of the block is one of ours.
        let mut ours = false;
        loop {
            let Some((index, line)) = lines.next() else { bail!("a console block has no end") };
            if line == "```" {
                break;
            }
            if let Some(first) = line.strip_prefix("$ ") {
                ours = true;
                let command = whole_command(first, &mut lines)?;
                steps.push(Step { line: index + 1, command, output: Vec::new() });
            } else if is_prompt(line) {
                ours = false;
                let _ = whole_command(line, &mut lines)?;
            } else if let (true, Some(step)) = (ours, steps.last_mut()) {
                step.output.push(line.to_owned());
            }
        }
    }
    Ok(steps)
}

/// `server$ command`, `root# command`.
fn is_prompt(line: &str) -> bool {
    line.split_once(' ').is_some_and(|(prompt, _)| prompt.ends_with(['$', '#']))
}

fn whole_command<'a>(
    first: &str,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
) -> anyhow::Result<String> {
    let mut command = first.to_owned();
    let mut next = || lines.next().map(|(_, line)| line);
    while command.ends_with('\\') {
        let Some(line) = next() else { bail!("a command has no end: {command}") };
        command += &format!("\n{line}");
    }
    if let Some((_, word)) = first.split_once("<<'") {
        let end = word.trim_end_matches('\'');
        loop {
            let Some(line) = next() else { bail!("the here-document of a command has no end: {command}") };
            command += &format!("\n{line}");
            if line == end {
                break;
            }
        }
    }
    Ok(command)
}

/// The first line of the page that the output lacks; each must be found after the previous one.
pub fn missing_line<'a>(expected: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    let lacks = |pattern: &&String| !lines.by_ref().any(|line| matches(pattern, line));
    expected.iter().find(lacks).map(String::as_str)
}

/// Whether a line has the parts of a pattern between its `…`, in their order, and begins and ends as it does.
fn matches(pattern: &str, line: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').map(str::trim).collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    if parts.len() == 1 {
        return line.trim_end() == pattern.trim_end();
    }
    if !line.starts_with(first) || !line.trim_end().ends_with(last) {
        return false;
    }
    let mut rest = line;
    parts.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_their_output_are_found() {
        let page = "text\n```console\nserver$ one \\\n  two\n$ cat <<'END'\na\nEND\nout\n$ b\n```\n```sh\n$ no\n```\n";
        let found = steps(page).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].command, "cat <<'END'\na\nEND");
        assert_eq!((found[0].line, &found[0].output[..]), (5, &["out".to_owned()][..]));
        assert_eq!(found[1].command, "b");
        assert!(steps("```console\n$ a\n").is_err());
    }

    #[test]
    fn output_is_compared_line_by_line() {
        let expected = ["NAME … AGE".to_owned(), "web-… Running".to_owned()];
        assert_eq!(missing_line(&expected, "NAME   READY   AGE\nweb-1  1/1  Running\n"), None);
        assert_eq!(missing_line(&expected, "web-1 Running\nNAME AGE\n"), Some("web-… Running"));
        assert_eq!(missing_line(&["ok".to_owned()], "okay"), Some("ok"));
    }
}
