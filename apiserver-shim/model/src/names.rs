//! Checks of names: DNS labels and subdomains, qualified names, label values. Each returns the errors in upstream's
//! words; an empty list means that the name is valid.

use std::net::IpAddr;

/// Maximum length of a DNS label.
pub const LABEL_MAX: usize = 63;
/// Maximum length of a DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SUBDOMAIN_UNDERSCORE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn longer_than(text: &str, most: usize, unit: &str, out: &mut Vec<String>) {
    if text.len() > most {
        out.push(format!("must be no more than {most} {unit}"));
    }
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_bounded(text: &str, ends: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match bytes {
        [] => false,
        [one] => ends(*one),
        [first, middle @ .., last] => ends(*first) && ends(*last) && middle.iter().all(|b| inner(*b)),
    }
}

fn is_label(text: &str) -> bool {
    is_bounded(text, lower_alnum, |b| lower_alnum(b) || b == b'-')
}

/// A DNS label as in RFC 1123.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, LABEL_MAX, "characters", &mut out);
    if !is_label(text) {
        let is_subdomain = text.split('.').all(is_label);
        out.push(if is_subdomain { "must not contain dots" } else { LABEL_1123 }.to_owned());
    }
    out
}

/// A DNS subdomain as in RFC 1123: the usual form of object names.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, SUBDOMAIN_MAX, "characters", &mut out);
    if !text.split('.').all(is_label) {
        out.push(SUBDOMAIN.to_owned());
    }
    out
}

/// A DNS subdomain whose labels may contain underscores, as in DNS search paths.
pub fn dns_subdomain_underscore(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, SUBDOMAIN_MAX, "characters", &mut out);
    let label = |l: &str| {
        is_bounded(l.strip_prefix('_').unwrap_or(l), lower_alnum, |b| {
            lower_alnum(b) || b == b'-' || b == b'_'
        })
    };
    if !text.split('.').all(label) {
        out.push(SUBDOMAIN_UNDERSCORE.to_owned());
    }
    out
}

/// `prefix/name` or `name`: keys of labels and annotations, names of extended resources.
pub fn qualified(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut parts = text.split('/');
    let (first, second, more) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    let name = match (second, more) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(dns_subdomain(first).into_iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
        (Some(_), Some(_)) => {
            let tail = QUALIFIED.trim_end_matches(')');
            out.push(format!("a valid label key {tail}) with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
            return out;
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        out.push(format!("name part must be no more than {LABEL_MAX} bytes"));
    }
    if !is_label_text(name) {
        out.push(format!("name part {QUALIFIED}"));
    }
    out
}

fn is_label_text(text: &str) -> bool {
    is_bounded(
        text,
        |b| b.is_ascii_alphanumeric(),
        |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'),
    )
}

/// A label value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, LABEL_MAX, "bytes", &mut out);
    if !text.is_empty() && !is_label_text(text) {
        out.push(VALUE.to_owned());
    }
    out
}

/// A key of a ConfigMap or Secret, which is also a file name.
pub fn config_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, SUBDOMAIN_MAX, "characters", &mut out);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        out.push(CONFIG_KEY.to_owned());
    }
    match text {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        t if t.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// The name of an environment variable.
pub fn env_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        Vec::new()
    } else {
        vec![ENV_NAME.to_owned()]
    }
}

/// A name that must fit in one segment of a URL path and is otherwise free: names of roles and Events.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A port name: an IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    if text.is_empty() || !text.bytes().all(|b| lower_alnum(b) || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// An address as lenient parsers read it: IPv4 numbers may have leading zeros.
fn lenient_ip(text: &str) -> Option<IpAddr> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !text.split('.').all(digits) {
        return text.parse().ok();
    }
    let parts: Vec<&str> = text.split('.').map(|part| part.trim_start_matches('0')).collect();
    let parts: Vec<&str> = parts.into_iter().map(|part| if part.is_empty() { "0" } else { part }).collect();
    parts.join(".").parse().ok()
}

/// An IP address of either family.
pub fn ip(text: &str) -> Vec<String> {
    let why = match (lenient_ip(text), text.parse::<IpAddr>()) {
        (None, _) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        (_, Err(_)) => "must not have leading 0s",
        (_, Ok(IpAddr::V6(v6))) if v6.to_ipv4_mapped().is_some() => "must not be an IPv4-mapped IPv6 address",
        _ => return Vec::new(),
    };
    vec![why.to_owned()]
}

/// What is unusual about an address of old fields, which accept several forms.
pub fn unusual_ip(text: &str) -> Option<String> {
    match (lenient_ip(text)?, text.parse::<IpAddr>()) {
        (ip, Err(_)) => Some(format!("non-standard IP address \"{text}\" is invalid: use \"{ip}\"")),
        (_, Ok(IpAddr::V6(v6))) => match v6.to_ipv4_mapped() {
            Some(v4) => Some(format!("non-standard IP address \"{text}\" is invalid: use \"{v4}\"")),
            None if v6.to_string() != text => {
                Some(format!("IPv6 address \"{text}\" should be in RFC 5952 canonical format (\"{v6}\")"))
            }
            None => None,
        },
        _ => None,
    }
}

/// What is unusual about a range of addresses of old fields, which accept several forms.
pub fn unusual_cidr(text: &str) -> Vec<String> {
    let lenient = text.split_once('/').and_then(|(ip, bits)| {
        let most = if lenient_ip(ip)?.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= most)?;
        Some((ip, lenient_ip(ip)?, bits, most))
    });
    let Some((written, ip, bits, most)) = lenient else { return Vec::new() };
    let network = masked(ip, most - bits);
    let mut out = Vec::new();
    if network != ip {
        out.push(format!(
            "CIDR value \"{text}\" is ambiguous in this context (should be \"{network}/{bits}\" or \"{ip}/{most}\"?)"
        ));
    }
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if mapped || written.parse::<IpAddr>().is_err() || !text.ends_with(&format!("/{bits}")) {
        out.push(format!("non-standard CIDR value \"{text}\" is invalid: use \"{network}/{bits}\""));
    }
    let canonical = format!("{ip}/{bits}");
    if out.is_empty() && ip.is_ipv6() && canonical != text {
        out.push(format!(
            "IPv6 CIDR value \"{text}\" should be in RFC 5952 canonical format (\"{canonical}\")"
        ));
    }
    out
}

/// An address without its last `host` bits.
fn masked(ip: IpAddr, host: u32) -> IpAddr {
    let mask = 1_u128.checked_shl(host).map_or(0, |end| !(end - 1));
    match ip {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & mask as u32).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & mask).into()),
    }
}

/// A range of IP addresses of either family.
pub fn cidr(text: &str) -> Vec<String> {
    let split = text.split_once('/');
    let lenient = split.and_then(|(ip, bits)| {
        let ip = lenient_ip(ip)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse::<u32>().ok().filter(|_| bits.bytes().all(|b| b.is_ascii_digit()))?;
        (bits <= most).then_some((ip, bits, most))
    });
    let zeros = split
        .is_some_and(|(ip, bits)| ip.parse::<IpAddr>().is_err() || bits.len() > 1 && bits.starts_with('0'));
    let why = match lenient {
        None => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        Some(_) if zeros => "must not have leading 0s in IP or prefix length",
        Some((IpAddr::V6(v6), ..)) if v6.to_ipv4_mapped().is_some() => {
            "must not have an IPv4-mapped IPv6 address"
        }
        Some((ip, bits, most)) => {
            let number = match ip {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            let host = 1_u128.checked_shl(most - bits).map_or(u128::MAX, |end| end - 1);
            if number & host == 0 {
                return Vec::new();
            }
            "must not have bits set beyond the prefix length"
        }
    };
    vec![why.to_owned()]
}

/// An IP address in canonical form: the only one in which it can name an object.
pub fn canonical_ip(text: &str) -> Vec<String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.to_string() == text => Vec::new(),
        Ok(ip) => vec![format!("must be in canonical form (\"{ip}\")")],
        Err(_) => self::ip(text),
    }
}

const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// A DNS label as in RFC 1035, which begins with a letter.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, LABEL_MAX, "characters", &mut out);
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(LABEL_1035.to_owned());
    }
    out
}

/// A DNS subdomain with a star as first label.
pub fn wildcard_dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    longer_than(text, SUBDOMAIN_MAX, "characters", &mut out);
    if !text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label)) {
        out.push(WILDCARD.to_owned());
    }
    out
}

/// An identifier of C.
pub fn c_identifier(text: &str) -> Vec<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let digit = text.starts_with(|c: char| c.is_ascii_digit());
    if text.is_empty() || digit || !text.bytes().all(word) {
        vec![C_IDENTIFIER.to_owned()]
    } else {
        Vec::new()
    }
}

/// The name of a resource such as `cpu` or `example.com/gpu`.
pub fn resource_name(text: &str) -> Vec<String> {
    const STANDARD: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "storage"];
    let mut out = qualified(text);
    if out.is_empty() && !text.contains('/') && !STANDARD.contains(&text) && !text.starts_with("hugepages-") {
        out.push("must be a standard resource type or fully qualified".to_owned());
    }
    out
}
