//! Warnings about files of a volume that have the same path, or whose paths contain each other.

use std::fmt;

use serde_json::Value;
use shim_model::access;

/// A file of a volume and where its content comes from.
#[derive(Clone, PartialEq, Eq)]
struct File {
    path: String,
    /// Empty if the volume has one source only.
    source: String,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.path)?;
        match self.source.as_str() {
            "" => Ok(()),
            source => write!(f, " ({source})"),
        }
    }
}

/// Warnings about the volumes of a Pod.
pub(super) fn overlaps(volumes: &[Value], out: &mut Vec<String>) {
    for volume in volumes {
        let name = access::text(volume, &["name"]);
        let warn =
            |what: &str, overlap: String| format!("volume \"{name}\" ({what}): overlapping paths: {overlap}");
        for (member, kind, named) in [
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ] {
            let Some(source) = volume.get(member).filter(|source| source.is_object()) else { continue };
            let what = match named {
                "" => kind.to_owned(),
                named => format!("{kind} \"{}\"", access::text(source, &[named])),
            };
            out.extend(among(files(source, "")).into_iter().map(|overlap| warn(&what, overlap)));
        }
        let Some(projected) = volume.get("projected").filter(|source| source.is_object()) else { continue };
        let mut all = Vec::new();
        for source in access::list(projected, &["sources"]) {
            match projection(source) {
                None => out.push(format!("volume \"{name}\" (Projected) has no sources provided")),
                Some(files) => all.extend(files),
            }
        }
        out.extend(among(all).into_iter().map(|overlap| warn("Projected", overlap)));
    }
}

/// The files of a source with items.
fn files(source: &Value, what: &str) -> Vec<File> {
    let items = access::list(source, &["items"]).iter();
    items.map(|item| file(access::text(item, &["path"]), what)).collect()
}

fn file(path: &str, source: &str) -> File {
    File { path: path.to_owned(), source: source.to_owned() }
}

/// The files of a projected source; `None` if it is empty.
fn projection(source: &Value) -> Option<Vec<File>> {
    let of = |member: &str| source.get(member).filter(|of| of.is_object());
    let text = |value: &Value, key: &str| access::text(value, &[key]).to_owned();
    if let Some(map) = of("configMap").filter(|map| map.get("items").is_some()) {
        return Some(files(map, &format!("ConfigMap \"{}\"", text(map, "name"))));
    }
    if let Some(secret) = of("secret").filter(|secret| secret.get("items").is_some()) {
        return Some(files(secret, &format!("Secret \"{}\"", text(secret, "name"))));
    }
    if let Some(downward) = of("downwardAPI").filter(|downward| downward.get("items").is_some()) {
        return Some(files(downward, "DownwardAPI"));
    }
    if let Some(token) = of("serviceAccountToken") {
        return Some(vec![file(&text(token, "path"), "ServiceAccountToken")]);
    }
    if let Some(bundle) = of("clusterTrustBundle") {
        let name = if bundle.get("name").is_some() { "name" } else { "signerName" };
        let what = format!("ClusterTrustBundle \"{}\"", text(bundle, name));
        return Some(vec![file(&text(bundle, "path"), &what)]);
    }
    if let Some(certificate) = of("podCertificate") {
        let paths = [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ];
        let all = paths.iter().map(|(key, what)| file(access::text(certificate, &[key]), what));
        return Some(all.filter(|file| !file.path.is_empty()).collect());
    }
    source.as_object().is_some_and(|members| !members.is_empty()).then(Vec::new)
}

/// The pairs of files that overlap, in the order of the later ones.
fn among(mut files: Vec<File>) -> Vec<String> {
    files.iter_mut().for_each(|file| file.path.truncate(file.path.trim_end_matches('/').len()));
    let below = |path: &str, other: &str| format!("{path}/").starts_with(&format!("{other}/"));
    let mut out = Vec::new();
    for (at, file) in files.iter().enumerate().filter(|(_, file)| !file.path.is_empty()) {
        let others = files[..at].iter().filter(|other| !other.path.is_empty());
        let clashing =
            others.filter(|other| below(&other.path, &file.path) || below(&file.path, &other.path));
        out.extend(clashing.map(|other| format!("{file} with {other}")));
    }
    out
}
