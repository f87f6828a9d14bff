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
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
