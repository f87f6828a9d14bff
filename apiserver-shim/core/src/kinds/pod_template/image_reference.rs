//! References to images: `[domain/]path[:tag]`, as container runtimes parse them.

/// Characters of a name and of a tag.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
/// An identifier of an image is not a reference to it.
const IDENTIFIER_LENGTH: usize = 64;

/// Whether a text without a digest is a reference.
pub(super) fn is_valid(image: &str) -> bool {
    let is_identifier =
        image.len() == IDENTIFIER_LENGTH && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (domain, rest) = split_domain(image);
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    !is_identifier
        && domain.is_none_or(is_domain)
        && domain.map_or(0, str::len) + path.len() <= NAME_MAX
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
}

/// The first part is a domain if it looks like one: it has a dot, a port or a capital, or is `localhost`.
fn split_domain(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (Some(first), rest)
        }
        _ => (None, image),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let hexadecimal = |b: u8| b.is_ascii_hexdigit() || b == b':';
            if address.is_empty() || !address.bytes().all(hexadecimal) {
                return false;
            }
            ("localhost", rest.strip_prefix(':').or((!rest.is_empty()).then_some("")))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        ends(label.bytes().next())
            && ends(label.bytes().next_back())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case words with `.`, `_`, `__` or dashes between them.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii() && word(c as u8)).filter(|s| !s.is_empty());
    let is_separator = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    let ends = |b: Option<u8>| b.is_some_and(word);
    ends(text.bytes().next()) && ends(text.bytes().next_back()) && separators.into_iter().all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn references_are_recognized() {
        for good in [
            "busybox",
            "a/b:1",
            "example.com:5000/a/b",
            "localhost/x",
            "[::1]:5000/x",
            "a__b.c-d",
            "UP.io/x:V1.0_a",
        ] {
            assert!(is_valid(good), "{good}");
        }
        let hexadecimal = "a".repeat(64);
        for bad in [
            "",
            "A",
            "a b",
            "a:",
            "/x",
            "a//b",
            "a._b",
            "x:-1",
            "http://x",
            "a-",
            "UP/x/Y",
            "é",
            &hexadecimal,
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
