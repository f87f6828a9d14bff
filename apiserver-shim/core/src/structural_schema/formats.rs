//! The formats of strings (`format`) that are validated. Others are ignored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;
use shim_model::names;
use shim_model::time::Instant;

use crate::cel::go_duration;

/// The formats, without dashes.
const KNOWN: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format is validated.
pub(super) fn is_known(format: &str) -> bool {
    KNOWN.binary_search(&format.replace('-', "").as_str()).is_ok()
}

struct Patterns {
    hostname: Regex,
    uuid: [Regex; 4],
    credit_card: Regex,
    ssn: Regex,
    hex_color: Regex,
    rgb_color: Regex,
    email: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex = |pattern: &str| Regex::new(pattern).expect("invariant: the pattern is a constant");
    let uuid = |third: &str, fourth: &str| {
        regex(&format!("(?i)^[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{third}-?{fourth}-?[0-9a-f]{{12}}$"))
    };
    let (any, variant) = ("[0-9a-f]{4}", "[89ab][0-9a-f]{3}");
    Patterns {
        hostname: regex(
            r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
        ),
        uuid: [
            uuid(any, any),
            uuid("3[0-9a-f]{3}", any),
            uuid("4[0-9a-f]{3}", variant),
            uuid("5[0-9a-f]{3}", variant),
        ],
        credit_card: regex(
            r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
        ),
        ssn: regex(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"),
        hex_color: regex(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        rgb_color: regex(
            r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*\)$",
        ),
        email: regex(r#"^(?:.*<([^<>\s]+)>|([^<>\s]+))$"#),
    }
});

/// Whether a text has a format; a format that is not known accepts all.
pub(crate) fn is_valid(format: &str, text: &str) -> bool {
    let patterns = &*PATTERNS;
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "byte" => is_base64(text),
        "cidr" => is_cidr(text),
        "creditcard" => is_credit_card(text, &patterns.credit_card),
        "date" => text.len() == 10 && Instant::parse(&format!("{text}T00:00:00Z")).is_some(),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text, &patterns.email),
        "hexcolor" => patterns.hex_color.is_match(text),
        "hostname" => {
            patterns.hostname.is_match(text)
                && text.len() <= 255
                && text.split('.').all(|label| label.len() <= 63)
        }
        "ipv4" => sloppy_ip(text).is_some_and(|ip| ip.is_ipv4()),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn(text, 10) || is_isbn(text, 13),
        "isbn10" => is_isbn(text, 10),
        "isbn13" => is_isbn(text, 13),
        "k8slongname" => names::dns_subdomain(text).is_empty(),
        "k8sshortname" => names::dns_label(text).is_empty(),
        "mac" => is_mac(text),
        "rgbcolor" => patterns.rgb_color.is_match(text),
        "ssn" => patterns.ssn.is_match(text),
        "uri" => is_request_uri(text),
        "uuid" => patterns.uuid[0].is_match(text),
        "uuid3" => patterns.uuid[1].is_match(text),
        "uuid4" => patterns.uuid[2].is_match(text),
        "uuid5" => patterns.uuid[3].is_match(text),
        _ => true,
    }
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// An address; leading zeros of IPv4 numbers are accepted.
fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Some(address) = sloppy_ip(address) else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse().is_ok_and(|b: u16| b <= most)
}

fn is_credit_card(text: &str, pattern: &Regex) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !pattern.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (u32::from(digit - b'0'), at % 2) {
            (digit, 0) => digit,
            (digit, _) if digit * 2 > 9 => digit * 2 - 9,
            (digit, _) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A date and time of RFC 3339; fractions may have any length, and the offset no colon.
fn is_date_time(text: &str) -> bool {
    Instant::parse(text).is_some()
}

/// A duration of Go, or a number with a unit in words.
fn is_duration(text: &str) -> bool {
    const UNITS: &[&str] = &[
        "ns",
        "nano",
        "nanos",
        "nanosecond",
        "nanoseconds",
        "us",
        "µs",
        "micro",
        "micros",
        "microsecond",
        "microseconds",
        "ms",
        "milli",
        "millis",
        "millisecond",
        "milliseconds",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "m",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hr",
        "hrs",
        "hour",
        "hours",
        "d",
        "day",
        "days",
        "w",
        "wk",
        "wks",
        "week",
        "weeks",
    ];
    if go_duration(text).is_some() {
        return true;
    }
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = text[digits..].trim().to_lowercase();
    digits > 0 && UNITS.contains(&unit.as_str())
}

fn is_email(text: &str, pattern: &Regex) -> bool {
    let Some(found) = pattern.captures(text.trim()) else { return false };
    let address = found.get(1).or(found.get(2)).map_or("", |part| part.as_str());
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |text: &str| {
        !text.is_empty()
            && text.split('.').all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| {
                        c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
                    })
            })
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (atom(local) || quoted) && (atom(domain) || literal)
}

fn is_isbn(text: &str, length: usize) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-' && *b != b' ').collect();
    if digits.len() != length {
        return false;
    }
    let last = length - 1;
    let value = |at: usize| match digits[at] {
        b'X' if length == 10 && at == last => Some(10),
        digit if digit.is_ascii_digit() => Some(u32::from(digit - b'0')),
        _ => None,
    };
    let mut sum = 0;
    for at in 0..length {
        let Some(digit) = value(at) else { return false };
        sum += match length {
            10 => (at as u32 + 1) * digit,
            _ => digit * if at.is_multiple_of(2) { 1 } else { 3 },
        };
    }
    sum.is_multiple_of(if length == 10 { 11 } else { 10 })
}

fn is_mac(text: &str) -> bool {
    let grouped = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        let hex = |part: &&str| part.len() == width && part.bytes().all(|b| b.is_ascii_hexdigit());
        counts.contains(&parts.len()) && parts.iter().all(hex)
    };
    grouped(':', 2, &[6, 8, 20]) || grouped('-', 2, &[6, 8, 20]) || grouped('.', 4, &[3, 4, 10])
}

/// A URI with a scheme, or an absolute path.
fn is_request_uri(text: &str) -> bool {
    let printable = text.bytes().all(|b| b > 0x20 && b != 0x7f);
    let scheme = text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let escapes = text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    printable && escapes && (text.starts_with('/') || scheme)
}
