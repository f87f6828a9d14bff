//! Fetching into a sandbox: copies, archives of every kind, downloads with redirects, and what is refused.

use std::io::Write;

use super::*;

fn uri(value: impl Into<String>) -> Uri {
    Uri { value: value.into(), executable: false, extract: true, output_file: None, cache: false }
}

fn tar_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Fetches one file with these bytes, and returns the sandbox.
fn fetched(name: &str, bytes: &[u8]) -> (tempfile::TempDir, Result<(), FetchError>) {
    let (source, sandbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = source.path().join(name);
    fs::write(&from, bytes).unwrap();
    let result = fetch(
        &[uri(from.to_string_lossy())],
        &Sandbox::open(sandbox.path()).unwrap(),
        &CancellationToken::new(),
    );
    (sandbox, result)
}

#[test]
fn archives_are_unpacked_by_their_names() {
    let tar = tar_of(&[("dir/a", "text")]);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&tar).unwrap();
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file("dir/a", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"text").unwrap();
    for (name, bytes) in [
        ("x.tar", tar.clone()),
        ("x.tgz", gzip(&tar)),
        ("x.tar.gz", gzip(&tar)),
        ("x.tar.bz2", bzip2.finish().unwrap()),
        ("x.zip", zip.finish().unwrap().into_inner()),
    ] {
        let (sandbox, result) = fetched(name, &bytes);
        result.unwrap();
        assert_eq!(fs::read_to_string(sandbox.path().join("dir/a")).unwrap(), "text", "{name}");
        assert!(sandbox.path().join(name).exists(), "{name} itself stays");
    }
}

#[test]
fn a_compressed_file_is_unpacked_beside_itself() {
    let (sandbox, result) = fetched("data.txt.gz", &gzip(b"text"));
    result.unwrap();
    assert_eq!(fs::read_to_string(sandbox.path().join("data.txt")).unwrap(), "text");
}

#[test]
fn a_broken_archive_is_an_error() {
    let (_sandbox, result) = fetched("x.tar.gz", b"not gzip");
    assert!(matches!(result, Err(FetchError::Extract(..))), "{result:?}");
}

#[test]
fn links_do_not_lead_out_of_the_sandbox() {
    let outside = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "out", outside.path()).unwrap();
    let mut file = tar::Header::new_gnu();
    file.set_size(1);
    file.set_mode(0o644);
    builder.append_data(&mut file, "out/escaped", &b"x"[..]).unwrap();
    let (_sandbox, result) = fetched("x.tar", &builder.into_inner().unwrap());
    assert!(matches!(result, Err(FetchError::Extract(..))), "{result:?}");
    assert!(!outside.path().join("escaped").exists());
}

#[test]
fn other_schemes_and_names_outside_the_sandbox_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(directory.path()).unwrap();
    let refused = fetch(&[uri("hdfs://a/b")], &sandbox, &CancellationToken::new()).unwrap_err();
    assert!(matches!(refused, FetchError::Scheme(_)), "{refused}");
    let named = Uri { output_file: Some("../x".to_owned()), ..uri("/etc/hostname") };
    let refused = fetch(&[named], &sandbox, &CancellationToken::new()).unwrap_err();
    assert!(matches!(refused, FetchError::Name(..)), "{refused}");
}

#[test]
fn a_cancelled_fetch_ends() {
    let (source, sandbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = source.path().join("a");
    fs::write(&from, "text").unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let sandbox = Sandbox::open(sandbox.path()).unwrap();
    let error = fetch(&[uri(from.to_string_lossy())], &sandbox, &stop).unwrap_err();
    assert!(error.to_string().ends_with("cancelled"), "{error}");
}
