//! Parses image names, so that a malformed one is refused before a registry is contacted.
//!
//! ```text
//! [registry/]component[/component…][:tag][@digest]
//! ```
//!
//! The first component is a registry if it has a dot, a port or an upper-case letter, or is `localhost`. The default is
//! `docker.io`, whose short names are below `library/`. This is upstream's grammar (distribution/reference) with its
//! messages, which appear in the Pod's status. `docs/decisions/0016-image-references-and-ftps.md` says why no crate does it.

/// The longest name with its registry, without tag and digest.
const NAME_MAX: usize = 255;
/// The longest tag.
const TAG_MAX: usize = 128;
/// The shortest digest, in hexadecimal digits.
const DIGEST_MIN: usize = 32;

/// A parsed image name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// The registry, with its port.
    pub registry: String,
    /// The repository below the registry.
    pub repository: String,
    /// Without the colon.
    pub tag: Option<String>,
    /// `algorithm:hex`.
    pub digest: Option<String>,
}

impl ImageName {
    /// Whether the name may refer to another image later: without a digest, and without a tag other than `latest`.
    pub fn is_mutable(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == "latest")
    }
}

/// Parses an image name; the error is upstream's message.
pub fn parse(image: &str) -> Result<ImageName, String> {
    if image.len() == 64 && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"));
    }
    let (domain, rest) = split_domain(image);
    let upper = rest.split(':').next().unwrap_or_default();
    if upper.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("invalid reference format: repository name ({upper}) must be lowercase"));
    }
    let (named, digest) = match rest.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (&*rest, None),
    };
    let (path, tag) = match named.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (named, None),
    };
    let well_formed = is_domain(domain)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if !well_formed {
        return Err("invalid reference format".to_owned());
    }
    if domain.len() + 1 + path.len() > NAME_MAX {
        return Err(format!("repository name must not be more than {NAME_MAX} characters"));
    }
    Ok(ImageName {
        registry: domain.to_owned(),
        repository: path.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

fn split_domain(image: &str) -> (&str, String) {
    if let Some((first, rest)) = image.split_once('/') {
        let names_a_host = first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|b| b.is_ascii_uppercase());
        if names_a_host && first != "docker.io" && first != "index.docker.io" {
            return (first, rest.to_owned());
        }
        if names_a_host {
            return ("docker.io", in_library(rest));
        }
    }
    ("docker.io", in_library(image))
}

fn in_library(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("library/{name}") }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let of_v6 = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let good_host = match of_v6 {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        }),
    };
    good_host && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_in_words = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    let mut joints = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_in_words
        && joints.all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-' | b'_'))
            && hex.len() >= DIGEST_MIN
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_image_names() {
        let digest = "sha256:d4fc04c338ed8a3b2ddf5b92bb5d0212adf6ea28c8c670959fd6ce277e8b43c8";
        for image in [
            "nginx",
            "nginx:1.25",
            "library/nginx",
            "a/b/c:latest",
            "localhost/catamaran/example-web:1",
            "localhost:5000/a_b/c__d/e--f.g:V1.2-rc_3",
            "ghcr.io/x/y",
            "Registry/x",
            "[::1]:5000/x",
            "10.0.0.1:5000/x:y",
            "docker.io/nginx",
        ] {
            assert!(parse(image).is_ok(), "{image}");
            assert!(parse(&format!("{image}@{digest}")).is_ok(), "{image} with a digest");
        }
    }

    #[test]
    fn invalid_image_names() {
        let lower =
            |name: &str| format!("invalid reference format: repository name ({name}) must be lowercase");
        for (image, said) in [
            ("Foo Bar:1", lower("library/Foo Bar")),
            ("localhost/Web:1", lower("Web")),
            ("a b", "invalid reference format".to_owned()),
            (":v1", "invalid reference format".to_owned()),
            ("nginx:", "invalid reference format".to_owned()),
            ("a//b", "invalid reference format".to_owned()),
            ("a/", "invalid reference format".to_owned()),
            ("https://ghcr.io/x", "invalid reference format".to_owned()),
            ("a..b", "invalid reference format".to_owned()),
            ("a@sha256:00", "invalid reference format".to_owned()),
            (&"a".repeat(300), "repository name must not be more than 255 characters".to_owned()),
        ] {
            assert_eq!(parse(image), Err(said), "{image}");
        }
    }
}
