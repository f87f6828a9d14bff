//! The `catamaran` binary: parses its arguments, hands over to one verb, and says in one sentence what went wrong.
//!
//! No logic lives here. [`arguments`] is what can be asked; `up`, `server`, `agent` and the two executors are what can be done.

use std::process::ExitCode;

use clap::Parser;

mod agent;
mod arguments;
mod cgroup_mounts;
mod data_directory;
mod hollow;
mod images;
mod node;
mod preflight;
mod progress;
mod runtime;
mod server;
mod up;

/// Objects are made and dropped by several threads at once, which glibc's allocator is slow at: see the bench.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match arguments::Arguments::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// What went wrong and why, each thing once: some errors have their cause's words in their own.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.is_empty() {
        true => cause,
        false if told.contains(&cause) => told,
        false => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let cause = anyhow!("no room").context("cannot write: no room").context("the disk fails");
        assert_eq!(sentence(&cause), "the disk fails: cannot write: no room");
        assert_eq!(sentence(&anyhow!("b").context("a")), "a: b");
    }
}
