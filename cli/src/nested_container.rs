//! Containers below others: the processes that stand for them.

use std::{path::PathBuf, process::ExitCode};

use kernel::supervisor;

/// `catamaran nested-container`, in the directory of the container.
#[derive(Debug, clap::Subcommand)]
pub enum NestedContainerVerb {
    /// Start the container's program, and wait for it
    Supervise { directory: PathBuf },
    /// Become the container's program
    Enter { directory: PathBuf },
}

/// Runs one of the processes of a container.
pub fn run(verb: &NestedContainerVerb) -> ExitCode {
    match verb {
        NestedContainerVerb::Supervise { directory } => supervisor::supervise(directory),
        NestedContainerVerb::Enter { directory } => supervisor::enter(directory),
    }
}
