//! Links of HTML pages that come through a proxy: those with an absolute path at the backend get the proxy's path in front, as
//! upstream does it. Everything else of a page stays as it is.

use std::io::{Error, ErrorKind, Read, Result, Write};

use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};

/// Elements with the attributes that have a link, as in HTML 4.01 and 5.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text, whatever it looks like.
const RAW_TEXT: [&str; 9] =
    ["iframe", "noembed", "noframes", "noscript", "script", "style", "textarea", "title", "xmp"];

/// The largest page that is decompressed, in bytes.
const PAGE_MAX: u64 = 64 << 20;

/// Replaces links of a page with what `through` makes of them. `encoding` is its `Content-Encoding`; `None` if it is none that
/// upstream reads.
pub fn rewrite(
    page: &[u8],
    encoding: &str,
    through: impl Fn(&str) -> Option<String>,
) -> Option<Result<Vec<u8>>> {
    match encoding {
        "" => Some(Ok(rewrite_plain(page, through))),
        "gzip" => Some(read_all(GzDecoder::new(page)).and_then(|plain| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&rewrite_plain(&plain, through))?;
            encoder.finish()
        })),
        "deflate" => Some(read_all(DeflateDecoder::new(page)).and_then(|plain| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&rewrite_plain(&plain, through))?;
            encoder.finish()
        })),
        _ => None,
    }
}

fn read_all(encoded: impl Read) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    if encoded.take(PAGE_MAX + 1).read_to_end(&mut plain)? as u64 > PAGE_MAX {
        return Err(Error::new(ErrorKind::FileTooLarge, "the page is too large"));
    }
    Ok(plain)
}

fn rewrite_plain(page: &[u8], through: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.len() + page.len() / 16);
    let (mut copied, mut at) = (0, 0);
    while let Some(start) = find(page, at, b"<") {
        let rest = &page[start..];
        if rest.starts_with(b"<!--") {
            at = find(page, start + 4, b"-->").map_or(page.len(), |end| end + 3);
            continue;
        }
        let Some(tag) = Tag::parse(page, start) else {
            at = start + 1;
            continue;
        };
        for (from, to) in tag.links.iter().copied() {
            let link = std::str::from_utf8(&page[from..to]).ok();
            if let Some(link) = link.and_then(|link| through(link.trim())) {
                out.extend_from_slice(&page[copied..from]);
                out.extend_from_slice(link.as_bytes());
                copied = to;
            }
        }
        at = tag.end;
        if RAW_TEXT.contains(&tag.name.as_str()) {
            at = end_of_raw_text(page, at, &tag.name);
        }
    }
    out.extend_from_slice(&page[copied..]);
    out
}

/// A start tag.
struct Tag {
    name: String,
    /// Where the values of links are.
    links: Vec<(usize, usize)>,
    /// Offset after it.
    end: usize,
}

impl Tag {
    /// Reads the start tag at an offset; `None` if something else is there, or its end is missing.
    fn parse(page: &[u8], start: usize) -> Option<Self> {
        let mut at = start + 1;
        page.get(at).filter(|byte| byte.is_ascii_alphabetic())?;
        let name_end =
            |at: usize| position(page, at, |byte| byte.is_ascii_whitespace() || b"/>".contains(&byte));
        let end = name_end(at)?;
        let name = String::from_utf8_lossy(&page[at..end]).to_ascii_lowercase();
        let wanted = LINKS.iter().find(|(element, _)| *element == name).map_or(&[][..], |(_, wanted)| wanted);
        at = end;
        let mut links = Vec::new();
        loop {
            at = position(page, at, |byte| !byte.is_ascii_whitespace() && byte != b'/')?;
            if page[at] == b'>' {
                return Some(Self { name, links, end: at + 1 });
            }
            // The first byte belongs to the name, also if it is `=`.
            let key_end =
                position(page, at + 1, |byte| byte.is_ascii_whitespace() || b"/>=".contains(&byte))?;
            let key = String::from_utf8_lossy(&page[at..key_end]).to_ascii_lowercase();
            at = position(page, key_end, |byte| !byte.is_ascii_whitespace())?;
            if page[at] != b'=' {
                continue;
            }
            at = position(page, at + 1, |byte| !byte.is_ascii_whitespace())?;
            let (from, to, after) = match page[at] {
                quote @ (b'"' | b'\'') => {
                    let to = position(page, at + 1, |byte| byte == quote)?;
                    (at + 1, to, to + 1)
                }
                _ => {
                    let to = position(page, at, |byte| byte.is_ascii_whitespace() || byte == b'>')?;
                    (at, to, to)
                }
            };
            if wanted.contains(&key.as_str()) {
                links.push((from, to));
            }
            at = after;
        }
    }
}

fn position(page: &[u8], from: usize, is_it: impl Fn(u8) -> bool) -> Option<usize> {
    page.get(from..)?.iter().position(|byte| is_it(*byte)).map(|at| from + at)
}

fn find(page: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    memchr::memmem::find(page.get(from..)?, what).map(|at| from + at)
}

/// The offset of the end tag of an element with raw text.
fn end_of_raw_text(page: &[u8], from: usize, name: &str) -> usize {
    let mut at = from;
    while let Some(start) = find(page, at, b"</") {
        let end = start + 2 + name.len();
        if page.get(start + 2..end).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes())) {
            return start;
        }
        at = start + 2;
    }
    page.len()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn through(link: &str) -> Option<String> {
        link.starts_with('/').then(|| format!("/proxy{link}"))
    }

    fn plain(page: &str) -> String {
        String::from_utf8(rewrite_plain(page.as_bytes(), through)).unwrap()
    }

    #[test]
    fn links_lead_through_the_proxy() {
        let page = r#"<!DOCTYPE html><!-- <a href="/no"> --><HTML><title><a href="/no"></title>
<A class=x HREF = '/a?b=1&amp;c'>a</A> <a href=/b/>b</a><img src="rel.png" alt="/no" usemap="/m"/>
<script src=/s.js>document.write('<a href="/no">')</script ><form action="/f" method=post><a>x</a> 1 < 2 <a href="/cut"#;
        expect![[r#"
            <!DOCTYPE html><!-- <a href="/no"> --><HTML><title><a href="/no"></title>
            <A class=x HREF = '/proxy/a?b=1&amp;c'>a</A> <a href=/proxy/b/>b</a><img src="rel.png" alt="/no" usemap="/proxy/m"/>
            <script src=/proxy/s.js>document.write('<a href="/no">')</script ><form action="/proxy/f" method=post><a>x</a> 1 < 2 <a href="/cut"#]]
        .assert_eq(&plain(page));
    }

    #[test]
    fn compressed_pages_stay_compressed() {
        let page = br#"<a href="/x">"#;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(page).unwrap();
        let rewritten = rewrite(&gzip.finish().unwrap(), "gzip", through).unwrap().unwrap();
        assert_eq!(read_all(GzDecoder::new(&*rewritten)).unwrap(), br#"<a href="/proxy/x">"#);
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(page).unwrap();
        let rewritten = rewrite(&deflate.finish().unwrap(), "deflate", through).unwrap().unwrap();
        assert_eq!(read_all(DeflateDecoder::new(&*rewritten)).unwrap(), br#"<a href="/proxy/x">"#);
        assert!(rewrite(page, "br", through).is_none());
        assert!(rewrite(page, "gzip", through).unwrap().is_err());
    }

    proptest! {
        #[test]
        fn any_page_is_read(page in "[<>/a \"'=!-]{0,60}") {
            prop_assert_eq!(rewrite_plain(page.as_bytes(), |_| None), page.into_bytes());
        }
    }
}
