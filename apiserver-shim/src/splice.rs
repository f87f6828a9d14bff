//! Changing one member of an encoded object without decoding the rest: bindings and statuses are written for every Pod, and
//! most of a Pod's bytes are not concerned. The scan knows strings and braces and nothing else of JSON; bytes that are not
//! an object as [`crate::object::encode`] writes them give `None`, and the caller decodes after all.

use std::ops::Range;

/// Where the value of an outermost member is.
pub fn member(bytes: &[u8], key: &str) -> Option<Range<usize>> {
    let mut at = skip(bytes, 0)?;
    if bytes[at] != b'{' {
        return None;
    }
    at = skip(bytes, at + 1)?;
    while bytes[at] == b'"' {
        let end = string_end(bytes, at)?;
        let name = &bytes[at + 1..end - 1];
        at = skip(bytes, end)?;
        if bytes[at] != b':' {
            return None;
        }
        let start = skip(bytes, at + 1)?;
        let end = value_end(bytes, start)?;
        if name == key.as_bytes() {
            return Some(start..end);
        }
        at = skip(bytes, end)?;
        if bytes[at] != b',' {
            return None;
        }
        at = skip(bytes, at + 1)?;
    }
    None
}

/// The bytes with one range replaced.
pub fn replace(bytes: &[u8], range: Range<usize>, with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() - range.len() + with.len());
    out.extend_from_slice(&bytes[..range.start]);
    out.extend_from_slice(with);
    out.extend_from_slice(&bytes[range.end..]);
    out
}

fn skip(bytes: &[u8], mut at: usize) -> Option<usize> {
    while bytes.get(at)?.is_ascii_whitespace() {
        at += 1;
    }
    Some(at)
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth == 0 {
                    return Some(at);
                }
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests;
