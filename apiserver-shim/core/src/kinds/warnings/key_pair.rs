//! Whether the certificate and the private key of a TLS Secret belong together, with the texts of Go's library. Only what that
//! needs is read of them.

use shim_model::base64;

/// What is wrong with a certificate and its private key, both in PEM.
pub(in super::super) fn key_pair_error(certificate: &[u8], key: &[u8]) -> Option<String> {
    let certificate = match find(certificate, |label| label == "CERTIFICATE") {
        Ok(der) => der,
        Err(skipped) if skipped.is_empty() => {
            return Some("tls: failed to find any PEM data in certificate input".to_owned());
        }
        Err(skipped) if skipped.len() == 1 && skipped[0].ends_with("PRIVATE KEY") => {
            return Some("tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned());
        }
        Err(skipped) => return Some(not_found("\"CERTIFICATE\" PEM block in certificate", &skipped)),
    };
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let key = match find(key, is_key) {
        Ok(der) => der,
        Err(skipped) if skipped.is_empty() => {
            return Some("tls: failed to find any PEM data in key input".to_owned());
        }
        Err(skipped) if skipped == ["CERTIFICATE"] => {
            return Some(
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned(),
            );
        }
        Err(skipped) => {
            return Some(not_found("PEM block with type ending in \"PRIVATE KEY\" in key", &skipped));
        }
    };
    let Some(public) = certified_key(&certificate) else {
        return Some("x509: malformed certificate".to_owned());
    };
    let Some(private) = private_key(&key) else { return Some("tls: failed to parse private key".to_owned()) };
    if public.algorithm != private.algorithm {
        return Some("tls: private key type does not match public key type".to_owned());
    }
    let differs = private.public.is_some_and(|known| known != public.public.unwrap_or_default());
    differs.then(|| "tls: private key does not match public key".to_owned())
}

fn not_found(what: &str, skipped: &[String]) -> String {
    format!(
        "tls: failed to find {what} input after skipping PEM blocks of the following types: [{}]",
        skipped.join(" ")
    )
}

/// The content of the first PEM block with a label that is wanted, or the labels of all others.
fn find(text: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, Vec<String>> {
    let text = String::from_utf8_lossy(text);
    let (mut skipped, mut rest) = (Vec::new(), text.as_ref());
    while let Some((label, body, after)) = block(rest) {
        match wanted(label) {
            true => return Ok(body),
            false => skipped.push(label.to_owned()),
        }
        rest = after;
    }
    Err(skipped)
}

/// The next PEM block: its label, its content, and what follows it.
fn block(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let mut rest = text;
    loop {
        let begun = &rest[rest.find("-----BEGIN ")? + "-----BEGIN ".len()..];
        let (label, body) = begun.split_once("-----")?;
        let end = format!("-----END {label}-----");
        if let Some((body, after)) = body.split_once(&end) {
            let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            if let Some(der) = base64::decode(&body) {
                return Some((label, der, after));
            }
        }
        rest = begun;
    }
}

/// A key: its algorithm (the object identifier) and its public part, which an elliptic key may omit.
struct Key {
    algorithm: Vec<u8>,
    public: Option<Vec<u8>>,
}

/// Object identifiers in DER.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// The public key of a certificate: `tbsCertificate` has an optional version, then serial number, signature algorithm, issuer,
/// validity, subject, and the key.
fn certified_key(der: &[u8]) -> Option<Key> {
    let mut certificate = inside(der, SEQUENCE)?;
    let mut certified = expect(&mut certificate, SEQUENCE)?;
    if certified.first() == Some(&0xa0) {
        element(&mut certified)?;
    }
    expect(&mut certified, INTEGER)?;
    for _ in ["signature", "issuer", "validity", "subject"] {
        expect(&mut certified, SEQUENCE)?;
    }
    let mut key = expect(&mut certified, SEQUENCE)?;
    let mut algorithm = expect(&mut key, SEQUENCE)?;
    let algorithm = expect(&mut algorithm, OBJECT_ID)?.to_vec();
    let bits = expect(&mut key, BITS)?.split_first().filter(|(unused, _)| **unused == 0)?.1;
    Some(Key { algorithm, public: Some(bits.to_vec()) })
}

/// A private key in the form of PKCS #1, PKCS #8 or SEC 1.
fn private_key(der: &[u8]) -> Option<Key> {
    let mut members = inside(der, SEQUENCE)?;
    expect(&mut members, INTEGER)?;
    match *members.first()? {
        INTEGER => {
            let (modulus, exponent) = (expect(&mut members, INTEGER)?, expect(&mut members, INTEGER)?);
            let both = [encoded(INTEGER, modulus), encoded(INTEGER, exponent)].concat();
            Some(Key { algorithm: RSA.to_vec(), public: Some(encoded(SEQUENCE, &both)) })
        }
        SEQUENCE => {
            let mut algorithm = expect(&mut members, SEQUENCE)?;
            let algorithm = expect(&mut algorithm, OBJECT_ID)?.to_vec();
            let inner = expect(&mut members, OCTETS)?;
            let public = match algorithm.as_slice() {
                RSA | EC => private_key(inner)?.public,
                _ => None,
            };
            Some(Key { algorithm, public })
        }
        OCTETS => {
            expect(&mut members, OCTETS)?;
            let mut public = None;
            while let Some((tag, content)) = element(&mut members) {
                if tag == 0xa1 {
                    public = inside(content, BITS)?.split_first().map(|(_, point)| point.to_vec());
                }
            }
            Some(Key { algorithm: EC.to_vec(), public })
        }
        _ => None,
    }
}

/// The content of the only element of `der`.
fn inside(der: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = der;
    let content = expect(&mut rest, tag)?;
    rest.is_empty().then_some(content)
}

fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(rest).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Takes the next element: its tag and its content.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, after) = rest.split_first()?;
    let (&first, mut after) = after.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        let (bytes, tail) = after.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        after = tail;
    }
    let (content, tail) = after.split_at_checked(length)?;
    *rest = tail;
    Some((tag, content))
}

/// An element in DER.
fn encoded(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let used = bytes.iter().position(|byte| *byte != 0).map_or(&bytes[..0], |at| &bytes[at..]);
            out.push(0x80 | used.len() as u8);
            out.extend_from_slice(used);
        }
    }
    out.extend_from_slice(content);
    out
}
