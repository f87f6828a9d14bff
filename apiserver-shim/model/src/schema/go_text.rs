//! Reads texts like Go's JSON package: invalid UTF-8 and lone surrogates become U+FFFD. serde_json refuses them; this
//! runs only after such a refusal.

/// The body with all replacements, or `None` if there is nothing to replace.
pub(crate) fn lenient(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut changed = false;
    let mut rest = body;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                changed |= escapes(valid.as_bytes(), &mut out);
                return changed.then_some(out);
            }
            Err(e) => {
                let (valid, broken) = rest.split_at(e.valid_up_to());
                escapes(valid, &mut out);
                // One replacement per invalid byte, as in Go.
                let width = e.error_len().unwrap_or(broken.len());
                out.extend("\u{fffd}".bytes().cycle().take(3 * width));
                changed = true;
                rest = &broken[width..];
            }
        }
    }
}

/// Copies a text with lone surrogates replaced; returns whether there were any.
fn escapes(text: &[u8], out: &mut Vec<u8>) -> bool {
    const REPLACEMENT: &[u8] = b"\\ufffd";
    let mut changed = false;
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' || at + 1 >= text.len() {
            out.push(text[at]);
            at += 1;
            continue;
        }
        match unit(&text[at..]) {
            Some(0xd800..=0xdbff) if matches!(unit(&text[at + 6..]), Some(0xdc00..=0xdfff)) => {
                out.extend_from_slice(&text[at..at + 12]);
                at += 12;
            }
            Some(0xd800..=0xdfff) => {
                out.extend_from_slice(REPLACEMENT);
                changed = true;
                at += 6;
            }
            _ => {
                out.extend_from_slice(&text[at..at + 2]);
                at += 2;
            }
        }
    }
    changed
}

/// The UTF-16 code unit of a `\u` escape at the beginning.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    std::str::from_utf8(digits).ok().and_then(|d| u32::from_str_radix(d, 16).ok())
}
