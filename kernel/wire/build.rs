//! Compiles our copies of the Mesos v1 messages with protox (no `protoc` program), and writes the descriptors that the JSON
//! codec reads.

use std::{env, fs, io, path::PathBuf};

use prost_types::{DescriptorProto, FileDescriptorSet};
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
        .compile_fds(with_lists_of_amounts(descriptors.clone()))?;
    for file in &mut descriptors.file {
        file.source_code_info = None; // comments and positions: the generated code has them, the codec needs none
    }
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())
}

/// Makes lists of `NamedAmount` of all maps of amounts: the same bytes, but amounts of zero are in them.
fn with_lists_of_amounts(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    messages.for_each(make_lists_of_amounts);
    descriptors
}

fn make_lists_of_amounts(message: &mut DescriptorProto) {
    message.nested_type.iter_mut().for_each(make_lists_of_amounts);
    let is_of_amounts = |entry: &DescriptorProto| {
        let value = entry.field.iter().find(|field| field.name() == "value");
        entry.options.as_ref().is_some_and(|options| options.map_entry())
            && value.is_some_and(|value| value.type_name() == ".mesos.v1.Value.Scalar")
    };
    let (entries, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut message.nested_type).into_iter().partition(is_of_amounts);
    message.nested_type = others;
    for entry in entries {
        let suffix = format!(".{}.{}", message.name(), entry.name());
        let of_it = message.field.iter_mut().filter(|field| field.type_name().ends_with(&suffix));
        of_it.for_each(|field| field.type_name = Some(".catamaran.link.NamedAmount".to_owned()));
    }
}
