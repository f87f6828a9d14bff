//! Compiles our copies of the Mesos v1 messages, and the descriptors that the JSON codec reads.

use std::{env, io, path::PathBuf};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let files = ["mesos", "quota", "allocator", "maintenance", "scheduler", "executor", "master", "agent"]
        .map(|name| format!("proto/mesos/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    prost_build::Config::new()
        .bytes(["."])
        .enable_type_names()
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .include_file("protos.rs")
        .compile_protos(&[&files[..], &["proto/link.proto".to_owned()]].concat(), &["proto"])
}
