//! Generates the client of the Container Runtime Interface from our own description of it, with protox (no `protoc` program).

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors =
        protox::compile(["runtime.proto", "snapshots.proto"], ["proto"]).map_err(std::io::Error::other)?;
    tonic_prost_build::configure().build_server(false).btree_map(".").compile_fds(descriptors)
}
