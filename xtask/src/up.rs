//! `cargo xtask up`: from a new machine to a running cluster. It builds as the user who calls it; packages are installed and the
//! cluster is started through sudo.

use std::os::unix::process::CommandExt;

use anyhow::Context;

use crate::{command, prerequisites, privileges};

/// Arguments of `up`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments for `catamaran up` (see `catamaran up --help`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Installs what is missing, builds the binary and `libmesos.so`, and executes `catamaran up`.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    prerequisites::for_building()?;
    if let Err(error) = prerequisites::for_running() {
        // Without a container runtime the cluster starts too; Pods wait and their Events give the reason.
        eprintln!("warning: {error:#}");
    }
    let binary = command::target_directory()?.join("release/catamaran");
    if !binary.exists() {
        println!("building catamaran: the first time this takes about ten minutes on two cores");
    }
    privileges::warn_of_sudo();
    let packages = ["--package", "catamaran", "--package", "libmesos"];
    command::run(command::cargo(&["build", "--release"]).args(packages))?;
    let library = binary.with_file_name("libmesos.so");
    println!("for Spark: export MESOS_NATIVE_JAVA_LIBRARY={}", library.display());
    let mut up = privileges::as_root(&binary.to_string_lossy(), &["up"])?;
    if !has_flag(&arguments.rest, "--example-images") {
        up.arg("--example-images");
    }
    up.args(&arguments.rest);
    Err(up.exec()).with_context(|| format!("could not start {}", binary.display()))
}

fn has_flag(arguments: &[String], flag: &str) -> bool {
    arguments.iter().any(|a| a == flag)
}
