//! The `catamaran` binary: parses the command line, runs one verb, and reports an error in one sentence.
//!
//! It wires the parts and decides nothing. [`arguments`] has the flags; `up`, `server` and `agent` have one verb each.

// A print to a closed pipe panics; `console` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;

mod agent;
mod announcement;
mod arguments;
mod backup;
mod build;
mod cgroup_mounts;
mod console;
mod control;
mod data_directory;
mod documentation;
mod example_images;
mod explain;
mod flag_values;
mod flags;
mod hollow;
mod images;
mod kube_client;
mod logging;
mod mesos_access;
mod mesos_client;
mod nested_container;
mod node;
mod output;
mod pod_network;
mod preflight;
mod progress;
mod ready;
mod renewal;
mod run;
mod runtime;
mod security;
mod server;
mod status;
mod stop;
mod task_images;
mod uninstall;
mod up;
mod user_kubeconfig;

/// Several threads allocate and free objects concurrently, where mimalloc costs less CPU than glibc (see the bench).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    transport::open_files::raise_limit();
    match arguments::Arguments::parse().run() {
        Ok(code) => code,
        Err(error) => {
            console::error_line(&format!("error: {}", sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

/// The error chain as one line. Causes that an outer message already contains are left out.
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
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_each_other() {
        arguments::Arguments::command().debug_assert();
    }

    #[test]
    fn a_cause_is_printed_once() {
        let cause = anyhow!("no room").context("cannot write: no room").context("the disk fails");
        assert_eq!(sentence(&cause), "the disk fails: cannot write: no room");
        assert_eq!(sentence(&anyhow!("b").context("a")), "a: b");
    }
}
