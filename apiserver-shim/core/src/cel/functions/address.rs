//! Addresses and networks as Go's `netip` parses them, with its errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shim_model::go_quote::go_quote;

/// An address, and whether it has a zone.
pub(super) struct Address {
    pub ip: IpAddr,
    pub has_zone: bool,
}

/// Parses an address.
pub(super) fn parse(text: &str) -> Result<Address, String> {
    let found = match text.chars().find(|c| ".:%".contains(*c)) {
        Some('.') => ipv4(text).map(|fields| Address { ip: Ipv4Addr::from(fields).into(), has_zone: false }),
        Some(':') => ipv6(text),
        Some(_) => Err(("missing IPv6 address", "")),
        None => Err(("unable to parse IP", "")),
    };
    found.map_err(|(why, at)| match at {
        "" => format!("ParseAddr({}): {why}", go_quote(text)),
        at => format!("ParseAddr({}): {why} (at {})", go_quote(text), go_quote(at)),
    })
}

/// Parses a network: its address and length.
pub(super) fn parse_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let failed = |why: String| format!("netip.ParsePrefix({}): {why}", go_quote(text));
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| failed("no '/'".to_owned()))?;
    let address = parse(address).map_err(&failed)?;
    if address.has_zone {
        return Err(failed("IPv6 zones cannot be present in a prefix".to_owned()));
    }
    let bad = || failed(format!("bad bits after slash: {}", go_quote(bits)));
    if bits.len() > 1 && !bits.starts_with(|c: char| ('1'..='9').contains(&c)) {
        return Err(bad());
    }
    let length: i64 = bits.parse().map_err(|_| bad())?;
    let most = if address.ip.is_ipv4() { 32 } else { 128 };
    match u8::try_from(length) {
        Ok(length) if length <= most => Ok((address.ip, length)),
        _ => Err(failed("prefix length out of range".to_owned())),
    }
}

/// What is wrong, and the rest of the text where it is.
type Failure<'t> = (&'static str, &'t str);

fn ipv4(text: &str) -> Result<[u8; 4], Failure<'_>> {
    let mut fields = [0; 4];
    let (mut at_field, mut value, mut digits) = (0, 0_u16, 0);
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        match c.to_digit(10) {
            Some(_) if digits == 1 && value == 0 => {
                return Err(("IPv4 field has octet with leading zero", ""));
            }
            Some(digit) => {
                value = value * 10 + digit as u16;
                digits += 1;
                fields[at_field] = u8::try_from(value).map_err(|_| ("IPv4 field has value >255", ""))?;
            }
            None if c != '.' => return Err(("unexpected character", rest)),
            None if digits == 0 || rest.len() == 1 => {
                return Err(("IPv4 field must have at least one digit", rest));
            }
            None if at_field == 3 => return Err(("IPv4 address too long", "")),
            None => (at_field, value, digits) = (at_field + 1, 0, 0),
        }
    }
    if at_field < 3 { Err(("IPv4 address too short", "")) } else { Ok(fields) }
}

fn ipv6(text: &str) -> Result<Address, Failure<'_>> {
    let (mut rest, zone) = text.split_once('%').map_or((text, None), |(rest, zone)| (rest, Some(zone)));
    if zone == Some("") {
        return Err(("zone must be a non-empty string", ""));
    }
    let has_zone = zone.is_some();
    let mut bytes: Vec<u8> = Vec::with_capacity(16);
    let mut ellipsis = None;
    if let Some(after) = rest.strip_prefix("::") {
        (ellipsis, rest) = (Some(0), after);
    }
    let mut is_done = rest.is_empty();
    while !is_done && bytes.len() < 16 {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits > 4 {
            return Err(("each group must have 4 or less digits", rest));
        }
        let Ok(group) = u16::from_str_radix(&rest[..digits], 16) else {
            return Err(("each colon-separated field must have at least one digit", rest));
        };
        if rest[digits..].starts_with('.') {
            if ellipsis.is_none() && bytes.len() != 12 {
                return Err(("embedded IPv4 address must replace the final 2 fields of the address", rest));
            }
            if bytes.len() > 12 {
                return Err(("too many hex fields to fit an embedded IPv4 at the end of the address", rest));
            }
            bytes.extend(ipv4(rest)?);
            rest = "";
            break;
        }
        bytes.extend(group.to_be_bytes());
        rest = &rest[digits..];
        let Some(after) = rest.strip_prefix(':') else {
            if rest.is_empty() {
                break;
            }
            return Err(("unexpected character, want colon", rest));
        };
        if after.is_empty() {
            return Err(("colon must be followed by more characters", rest));
        }
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            if ellipsis.is_some() {
                return Err(("multiple :: in address", rest));
            }
            (ellipsis, rest) = (Some(bytes.len()), after);
            is_done = rest.is_empty();
        }
    }
    if !rest.is_empty() {
        return Err(("trailing garbage after address", rest));
    }
    match (ellipsis, 16 - bytes.len()) {
        (None, 1..) => return Err(("address string too short", "")),
        (Some(_), 0) => return Err(("the :: must expand to at least one field of zeros", "")),
        (Some(at), missing) => drop(bytes.splice(at..at, std::iter::repeat_n(0, missing))),
        (None, 0) => {}
    }
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| ("address string too short", ""))?;
    Ok(Address { ip: Ipv6Addr::from(bytes).into(), has_zone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_as_in_go() {
        let shown = |text: &str| parse(text).map_or_else(|why| why, |address| address.ip.to_string());
        let cases = [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3", "ParseAddr(\"1.2.3\"): IPv4 address too short"),
            ("1.2.3.4.5", "ParseAddr(\"1.2.3.4.5\"): IPv4 address too long"),
            ("1..3.4", "ParseAddr(\"1..3.4\"): IPv4 field must have at least one digit (at \".3.4\")"),
            ("1.2.3.", "ParseAddr(\"1.2.3.\"): IPv4 field must have at least one digit (at \".\")"),
            ("1.2.3.256", "ParseAddr(\"1.2.3.256\"): IPv4 field has value >255"),
            ("01.2.3.4", "ParseAddr(\"01.2.3.4\"): IPv4 field has octet with leading zero"),
            ("1.2.3.x", "ParseAddr(\"1.2.3.x\"): unexpected character (at \"x\")"),
            ("x", "ParseAddr(\"x\"): unable to parse IP"),
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("2001:db8::1:0", "2001:db8::1:0"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
            ("1:2", "ParseAddr(\"1:2\"): address string too short"),
            ("1::2::3", "ParseAddr(\"1::2::3\"): multiple :: in address (at \":3\")"),
            (
                "1:2:3:4:5:6:7:8:9",
                "ParseAddr(\"1:2:3:4:5:6:7:8:9\"): trailing garbage after address (at \"9\")",
            ),
            ("12345::", "ParseAddr(\"12345::\"): each group must have 4 or less digits (at \"12345::\")"),
            ("1:", "ParseAddr(\"1:\"): colon must be followed by more characters (at \":\")"),
            ("::g", "ParseAddr(\"::g\"): each colon-separated field must have at least one digit (at \"g\")"),
            (
                "1:2:3:4:5:6:7::8",
                "ParseAddr(\"1:2:3:4:5:6:7::8\"): the :: must expand to at least one field of zeros",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
        assert!(parse("fe80::1%eth0").is_ok_and(|address| address.has_zone));
    }

    #[test]
    fn networks_are_parsed_as_in_go() {
        let why = |text: &str| parse_prefix(text).err().unwrap_or_default();
        assert_eq!(why("10.0.0.0/8"), "");
        assert_eq!(why("10.0.0.0"), "netip.ParsePrefix(\"10.0.0.0\"): no '/'");
        assert_eq!(why("10.0.0.0/33"), "netip.ParsePrefix(\"10.0.0.0/33\"): prefix length out of range");
        assert_eq!(why("10.0.0.0/08"), "netip.ParsePrefix(\"10.0.0.0/08\"): bad bits after slash: \"08\"");
        assert_eq!(why("::/x"), "netip.ParsePrefix(\"::/x\"): bad bits after slash: \"x\"");
    }
}
