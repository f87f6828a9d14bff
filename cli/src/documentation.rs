//! Shell completions and manual pages, made from the command line's definition.

use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{arguments::Arguments, build, console};

/// `catamaran completions SHELL`: prints the completions.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    console::line(completion_script(shell)?.trim_end());
    Ok(())
}

fn completion_script(shell: Shell) -> anyhow::Result<String> {
    let mut command = shown(&Arguments::command());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "catamaran", &mut script);
    String::from_utf8(script).context("the completions are no text")
}

/// The command line without its hidden verbs, which the generators of completions would offer.
fn shown(whole: &Command) -> Command {
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new("catamaran")
        .version(build::VERSION.as_str())
        .args(whole.get_arguments().cloned())
        .subcommands(verbs)
}

/// `catamaran man-pages DIR`: writes a page for each verb.
pub fn manual_pages(directory: &Path) -> anyhow::Result<()> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    write_pages(command, directory)
        .with_context(|| format!("cannot write manual pages to {}", directory.display()))
}

fn write_pages(command: Command, directory: &Path) -> std::io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned() {
        write_pages(verb, directory)?;
    }
    page(command).generate_to(directory).map(drop)
}

/// A page with all fields of its header: an empty one is not written, and the next is taken for it.
fn page(command: Command) -> Man {
    let date = build::info().date;
    let day = date.split('T').next().unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    Man::new(command).date(day).source(format!("catamaran {version}")).manual("Catamaran")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_have_no_hidden_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion_script(shell).unwrap();
            assert!(script.contains("uninstall"), "{shell}");
            assert!(!script.contains("command-executor") && !script.contains("man-pages"), "{shell}");
        }
    }

    #[test]
    fn the_header_of_a_page_has_all_five_fields() {
        let mut text = Vec::new();
        page(Arguments::command()).render_title(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let header = text.lines().find(|line| line.starts_with(".TH")).unwrap();
        let day = build::info().date.split('T').next().unwrap().to_owned();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(header, format!(".TH catamaran 1 {day} \"catamaran {version}\" Catamaran"));
    }
}
