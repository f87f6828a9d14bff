//! Shell completions and manual pages, made from the command line's definition.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{arguments::Arguments, console};

/// `catamaran completions SHELL`: prints the completions.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "catamaran", &mut script);
    console::line(String::from_utf8(script).context("the completions are no text")?.trim_end());
    Ok(())
}

/// `catamaran man-pages DIR`: writes a page for each verb.
pub fn manual_pages(directory: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Arguments::command(), directory)
        .with_context(|| format!("cannot write manual pages to {}", directory.display()))
}
