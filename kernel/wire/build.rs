//! Compiles our copies of the Mesos v1 messages with protox (no `protoc` program), and writes the descriptors that the JSON
//! codec reads.

use std::{env, fs, io, path::PathBuf};

use protox::prost::Message as _;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let mut files =
        ["mesos", "quota", "allocator", "maintenance", "scheduler", "executor", "master", "agent"]
            .map(|name| format!("mesos/v1/{name}.proto"))
            .to_vec();
    files.push("link.proto".to_owned());
    let mut descriptors = protox::compile(files, ["proto"]).map_err(io::Error::other)?;
    prost_build::Config::new()
        .bytes(["."])
        .enable_type_names()
        .include_file("protos.rs")
        .compile_fds(descriptors.clone())?;
    for file in &mut descriptors.file {
        file.source_code_info = None; // comments and positions: the generated code has them, the codec needs none
    }
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())
}
