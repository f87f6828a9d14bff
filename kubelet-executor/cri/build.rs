//! Generates the client of the Container Runtime Interface from our own description of it.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto/runtime.proto");
    tonic_prost_build::configure()
        .build_server(false)
        .btree_map(".")
        .compile_protos(&["proto/runtime.proto"], &["proto"])
}
