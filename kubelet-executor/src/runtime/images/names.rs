//! The names of the images in an archive: a docker-archive has them in `manifest.json`, an OCI archive in `index.json`.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use executor_core::image_name;
use flate2::read::GzDecoder;
use serde::Deserialize;

/// The longest list of names that is read.
const NAMES_BYTES_MAX: u64 = 4 << 20;
/// The first bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file as it is, or decompressed.
pub(super) fn open(path: &Path) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut file = File::open(path)?;
    let mut first = Vec::new();
    (&mut file).take(GZIP.len() as u64).read_to_end(&mut first)?;
    file.rewind()?;
    let compressed = first == GZIP;
    Ok((if compressed { Box::new(GzDecoder::new(file)) } else { Box::new(file) }, compressed))
}

/// The full names of the archive's images, sorted. Entries of an archive are in any order.
pub(super) fn of_archive(archive: impl Read) -> io::Result<Vec<String>> {
    let (mut manifest, mut index) = (None, None);
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let list = match path.strip_prefix("./").unwrap_or(&path).to_str() {
            Some("manifest.json") => &mut manifest,
            Some("index.json") => &mut index,
            _ => continue,
        };
        let mut text = Vec::new();
        entry.take(NAMES_BYTES_MAX).read_to_end(&mut text)?;
        *list = Some(text);
    }
    let mut names = match (manifest, index) {
        // Newer versions of `docker save` write both; that of the OCI is complete then.
        (_, Some(index)) if !of_index(&index)?.is_empty() => of_index(&index)?,
        (Some(manifest), _) => of_manifest(&manifest)?,
        (None, Some(_)) => Vec::new(),
        (None, None) => {
            let what =
                "neither a docker-archive nor an OCI archive: it has no manifest.json and no index.json";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    };
    names.sort();
    names.dedup();
    Ok(names)
}

fn of_manifest(json: &[u8]) -> io::Result<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        repo_tags: Option<Vec<String>>,
    }
    let images: Vec<Image> = serde_json::from_slice(json)?;
    Ok(images
        .into_iter()
        .flat_map(|image| image.repo_tags.unwrap_or_default())
        .map(|name| full(&name))
        .collect())
}

fn of_index(json: &[u8]) -> io::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Manifest>,
    }
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        annotations: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(json)?;
    let name = |manifest: Manifest| {
        let annotation = |key: &str| manifest.annotations.get(key).cloned();
        // A reference without a repository is a tag alone, which names nothing.
        let reference =
            || annotation("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
        annotation("io.containerd.image.name").or_else(reference).map(|name| full(&name))
    };
    Ok(index.manifests.into_iter().filter_map(name).collect())
}

/// The name with its registry and tag, as the runtime stores it.
fn full(name: &str) -> String {
    let Ok(parsed) = image_name::parse(name) else { return name.to_owned() };
    let tag = match (&parsed.tag, &parsed.digest) {
        (Some(tag), _) => format!(":{tag}"),
        (None, None) => ":latest".to_owned(),
        (None, Some(_)) => String::new(),
    };
    let digest = parsed.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}/{}{tag}{digest}", parsed.registry, parsed.repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        of_archive(&*tar.into_inner().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn images_have_the_names_that_the_runtime_gives_them() {
        let docker =
            r#"[{"Config":"c","RepoTags":["busybox:1","example.org/a/b"],"Layers":[]},{"RepoTags":null}]"#;
        let expected = ["docker.io/library/busybox:1", "example.org/a/b:latest"].map(str::to_owned);
        assert_eq!(names(&[("x/layer.tar", "l"), ("manifest.json", docker)]).unwrap(), expected);
        let oci =
            r#"{"manifests":[{"annotations":{"io.containerd.image.name":"localhost/x:1"}},{"digest":"d"}]}"#;
        assert_eq!(names(&[("./index.json", oci)]).unwrap(), ["localhost/x:1"]);
        let referenced = r#"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"a/b:2"}}]}"#;
        assert_eq!(names(&[("index.json", referenced)]).unwrap(), ["docker.io/a/b:2"]);
        // As `docker save` of version 25 and later.
        assert_eq!(names(&[("index.json", oci), ("manifest.json", docker)]).unwrap(), ["localhost/x:1"]);
        let tag_only = r#"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}"#;
        assert_eq!(names(&[("index.json", tag_only), ("manifest.json", docker)]).unwrap(), expected);
        assert_eq!(names(&[("index.json", tag_only)]).unwrap(), [""; 0]);
        assert!(names(&[("etc/passwd", "")]).unwrap_err().contains("neither a docker-archive"));
        assert!(of_archive(&b"no tar at all, but long enough to be read as one"[..]).is_err());
    }
}
