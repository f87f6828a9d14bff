//! Generates the etcd client from our own description of the part of etcd's API that the backend uses, with protox (no
//! `protoc` program).

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["etcd.proto"], ["proto"]).map_err(std::io::Error::other)?;
    tonic_prost_build::configure().build_server(false).bytes(".").compile_fds(descriptors)
}
