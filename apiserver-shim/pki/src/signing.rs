//! Signs certificate signing requests of others. Subject and public key are copied as they are; of the extensions only the
//! alternative names. What the certificate may be used for, and how long, is the signer's decision.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{PKCS_ECDSA_P256_SHA256, SigningKey};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag};

use crate::{CertificateAuthority, PkiError};

const REQUEST: &str = "certificate signing request";
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
/// Serial numbers are as long as upstream's: 127 bits.
const SERIAL_BYTES: usize = 16;

/// A request whose signature is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SigningRequest {
    /// The last common name of the subject; empty if it has none.
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub emails: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub uris: Vec<String>,
    subject: Vec<u8>,
    public_key: Vec<u8>,
}

impl SigningRequest {
    /// Reads the first PEM block, and checks that the requester has the private key.
    pub fn parse(text: &[u8]) -> Result<SigningRequest, PkiError> {
        let malformed = |why: &dyn std::fmt::Display| PkiError::malformed(REQUEST, why);
        let block = pem::parse(text).map_err(|error| malformed(&error))?;
        if block.tag() != "CERTIFICATE REQUEST" {
            return Err(malformed(&"PEM block type must be CERTIFICATE REQUEST"));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(block.contents()).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&"trailing data"));
        }
        request.verify_signature().map_err(|error| malformed(&error))?;
        let info = &request.certification_request_info;
        // The subject is copied as it is: what cannot be read here must not be signed.
        let text = |name: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            name.as_str()
                .map(str::to_owned)
                .map_err(|_| malformed(&"the subject has a name that is not text"))
        };
        let common_names = info.subject.iter_common_name().map(text).collect::<Result<Vec<_>, _>>()?;
        let mut out = SigningRequest {
            common_name: common_names.into_iter().last().unwrap_or_default(),
            organizations: info.subject.iter_organization().map(text).collect::<Result<_, _>>()?,
            dns_names: Vec::new(),
            emails: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().try_for_each(|name| out.add(name))?;
            }
        }
        Ok(out)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), PkiError> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => self.addresses.push(
                match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).map(IpAddr::from),
                    _ => <[u8; 16]>::try_from(*bytes).map(IpAddr::from),
                }
                .map_err(|_| PkiError::malformed(REQUEST, "an IP address has 4 or 16 bytes"))?,
            ),
            // As upstream: names of other kinds are not copied.
            _ => {}
        }
        Ok(())
    }

    fn has_names(&self) -> bool {
        !(self.dns_names.is_empty()
            && self.emails.is_empty()
            && self.addresses.is_empty()
            && self.uris.is_empty())
    }
}

/// The bit of a key usage (RFC 5280).
fn key_usage(usage: &str) -> Option<usize> {
    Some(match usage {
        "signing" | "digital signature" => 0,
        "content commitment" => 1,
        "key encipherment" => 2,
        "data encipherment" => 3,
        "key agreement" => 4,
        "cert sign" => 5,
        "crl sign" => 6,
        "encipher only" => 7,
        "decipher only" => 8,
        _ => return None,
    })
}

/// The identifier of an extended key usage.
fn extended_key_usage(usage: &str) -> Option<&'static [u64]> {
    Some(match usage {
        "any" => &[2, 5, 29, 37, 0],
        "server auth" => &[1, 3, 6, 1, 5, 5, 7, 3, 1],
        "client auth" => &[1, 3, 6, 1, 5, 5, 7, 3, 2],
        "code signing" => &[1, 3, 6, 1, 5, 5, 7, 3, 3],
        "email protection" | "s/mime" => &[1, 3, 6, 1, 5, 5, 7, 3, 4],
        "ipsec end system" => &[1, 3, 6, 1, 5, 5, 7, 3, 5],
        "ipsec tunnel" => &[1, 3, 6, 1, 5, 5, 7, 3, 6],
        "ipsec user" => &[1, 3, 6, 1, 5, 5, 7, 3, 7],
        "timestamping" => &[1, 3, 6, 1, 5, 5, 7, 3, 8],
        "ocsp signing" => &[1, 3, 6, 1, 5, 5, 7, 3, 9],
        "microsoft sgc" => &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3],
        "netscape sgc" => &[2, 16, 840, 1, 113_730, 4, 1],
        _ => return None,
    })
}

impl CertificateAuthority {
    /// Signs a request for these usages (`client auth`, `digital signature` …) and times, in seconds since 1970. No
    /// certificate outlives the authority.
    pub fn sign_request(
        &self,
        request: &SigningRequest,
        usages: &[&str],
        (not_before, not_after): (i64, i64),
    ) -> Result<String, PkiError> {
        let key = self.key_pair();
        if !key.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            return Err(PkiError::malformed(
                "authority key",
                "certificates are signed with ECDSA P-256 keys only",
            ));
        }
        let block =
            pem::parse(self.certificate()).map_err(|e| PkiError::malformed("authority certificate", e))?;
        let (_, own) = X509Certificate::from_der(block.contents())
            .map_err(|e| PkiError::malformed("authority certificate", e))?;
        let not_after = not_after.min(own.validity().not_after.timestamp());
        if not_before >= not_after {
            return Err(PkiError::malformed("authority certificate", "it has expired"));
        }
        let purposes = Purposes::of(usages)?;
        let serial = Sha256::new()
            .chain_update(&request.public_key)
            .chain_update(&request.subject)
            .chain_update(now_nanos().to_be_bytes())
            .finalize();
        let mut serial = serial[..SERIAL_BYTES].to_vec();
        serial[0] &= 0x7f;
        let to_sign = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
                writer.next().write_bigint_bytes(&serial, true);
                algorithm(writer.next());
                writer.next().write_der(own.subject().as_raw());
                writer.next().write_sequence(|writer| {
                    time(writer.next(), not_before);
                    time(writer.next(), not_after);
                });
                writer.next().write_der(&request.subject);
                writer.next().write_der(&request.public_key);
                writer.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|writer| {
                        purposes.write(writer);
                        write_common(writer, key_id(&own), request);
                    });
                });
            });
        });
        let signature = key.sign(&to_sign).map_err(PkiError::Make)?;
        let certificate = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&to_sign);
                algorithm(writer.next());
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem::encode_config(
            &pem::Pem::new("CERTIFICATE", certificate),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        ))
    }
}

/// The usages of a certificate.
struct Purposes {
    bits: [bool; 9],
    extended: Vec<&'static [u64]>,
}

impl Purposes {
    fn of(usages: &[&str]) -> Result<Purposes, PkiError> {
        let (mut bits, mut extended) = ([false; 9], Vec::new());
        for usage in usages {
            match (key_usage(usage), extended_key_usage(usage)) {
                (Some(bit), _) => bits[bit] = true,
                (None, Some(id)) => extended.push(id),
                (None, None) => {
                    return Err(PkiError::malformed("usages", format!("unknown usage {usage:?}")));
                }
            }
        }
        extended.sort_unstable();
        extended.dedup();
        Ok(Purposes { bits, extended })
    }

    fn write(&self, writer: &mut DERWriterSeq<'_>) {
        if self.bits.contains(&true) {
            extension(writer.next(), KEY_USAGE, true, |writer| write_bits(writer, &self.bits));
        }
        if !self.extended.is_empty() {
            extension(writer.next(), EXTENDED_KEY_USAGE, false, |writer| {
                writer.write_sequence(|writer| self.extended.iter().for_each(|id| oid(writer.next(), id)));
            });
        }
    }
}

fn key_id<'a>(authority: &X509Certificate<'a>) -> Option<&'a [u8]> {
    authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// The extensions of every certificate.
fn write_common(writer: &mut DERWriterSeq<'_>, key_id: Option<&[u8]>, request: &SigningRequest) {
    extension(writer.next(), BASIC_CONSTRAINTS, true, |writer| writer.write_sequence(|_| ()));
    if let Some(id) = key_id {
        extension(writer.next(), AUTHORITY_KEY, false, |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(id));
            });
        });
    }
    if request.has_names() {
        extension(writer.next(), ALTERNATIVE_NAMES, false, |writer| names(writer, request));
    }
}

/// Makes serial numbers unique: two certificates of one request have different ones.
fn now_nanos() -> u128 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos())
}

fn oid(writer: DERWriter<'_>, id: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(id));
}

fn algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|writer| oid(writer.next(), ECDSA_WITH_SHA256));
}

/// The years 1950 to 2049 have two digits (RFC 5280).
fn time(writer: DERWriter<'_>, seconds: i64) {
    let at = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.max(0).unsigned_abs());
    let year = at.year();
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    let (tag, text) = match (1950..2050).contains(&year) {
        true => (0x17, format!("{:02}{rest}", year % 100)),
        false => (0x18, format!("{year:04}{rest}")),
    };
    // Tag and length: the text has at most 15 bytes.
    let mut der = vec![tag, text.len() as u8];
    der.extend_from_slice(text.as_bytes());
    writer.write_der(&der);
}

fn extension(writer: DERWriter<'_>, id: &[u64], critical: bool, value: impl FnOnce(DERWriter<'_>)) {
    let value = yasna::construct_der(value);
    writer.write_sequence(|writer| {
        oid(writer.next(), id);
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(&value);
    });
}

/// A list of named bits ends with its last set bit.
fn write_bits(writer: DERWriter<'_>, bits: &[bool; 9]) {
    let length = bits.iter().rposition(|bit| *bit).map_or(0, |last| last + 1);
    let mut bytes = vec![0u8; length.div_ceil(8)];
    for (at, _) in bits.iter().enumerate().filter(|(_, set)| **set) {
        bytes[at / 8] |= 0x80 >> (at % 8);
    }
    writer.write_bitvec_bytes(&bytes, length);
}

fn names(writer: DERWriter<'_>, request: &SigningRequest) {
    writer.write_sequence(|writer| {
        let mut text = |tag: u64, names: &[String]| {
            for name in names {
                writer
                    .next()
                    .write_tagged_implicit(Tag::context(tag), |writer| writer.write_ia5_string(name));
            }
        };
        text(2, &request.dns_names);
        text(1, &request.emails);
        text(6, &request.uris);
        for address in &request.addresses {
            let bytes = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            writer.next().write_tagged_implicit(Tag::context(7), |writer| writer.write_bytes(&bytes));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};
    use std::time::SystemTime;

    fn request(user: &str, dns: &[&str]) -> SigningRequest {
        let mut params =
            CertificateParams::new(dns.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, "one");
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "two");
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        SigningRequest::parse(csr.pem().unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn a_signed_certificate_has_what_was_asked_for() {
        let authority = CertificateAuthority::create(SystemTime::now()).unwrap();
        let asked = request("jane", &["a.example", "10.1.2.3"]);
        assert_eq!(
            (asked.common_name.as_str(), &asked.organizations[..]),
            ("jane", &["one".to_owned(), "two".to_owned()][..])
        );
        let usages = ["client auth", "digital signature", "key encipherment"];
        let signed = authority.sign_request(&asked, &usages, (1_800_000_000, 1_800_003_600)).unwrap();
        let block = pem::parse(&signed).unwrap();
        let (_, certificate) = X509Certificate::from_der(block.contents()).unwrap();
        let own = pem::parse(authority.certificate()).unwrap();
        let (_, own) = X509Certificate::from_der(own.contents()).unwrap();
        certificate.verify_signature(Some(own.public_key())).unwrap();
        let identity = crate::identity::of_certificate(block.contents()).unwrap();
        assert_eq!((identity.user.as_str(), identity.groups.len()), ("jane", 2));
        assert_eq!(certificate.issuer().as_raw(), own.subject().as_raw());
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
        assert!(!usage.value.key_cert_sign());
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert!(!certificate.basic_constraints().unwrap().unwrap().value.ca);
        assert_eq!(certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
        assert_eq!(certificate.validity().not_before.timestamp(), 1_800_000_000);
        assert_eq!(certificate.validity().not_after.timestamp(), 1_800_003_600);
        let again = authority.sign_request(&asked, &usages, (1_800_000_000, 1_800_003_600)).unwrap();
        assert_ne!(signed, again, "serial numbers are unique");
    }

    #[test]
    fn no_certificate_outlives_the_authority_and_bad_requests_are_refused() {
        let authority = CertificateAuthority::create(SystemTime::now()).unwrap();
        let asked = request("jane", &[]);
        let signed = authority.sign_request(&asked, &["client auth"], (1_800_000_000, i64::MAX)).unwrap();
        let end = crate::identity::not_after(authority.certificate()).unwrap();
        assert_eq!(crate::identity::not_after(&signed).unwrap(), end);
        assert!(authority.sign_request(&asked, &["client auth"], (end, end + 1)).is_err());
        assert!(authority.sign_request(&asked, &["anything"], (0, 1)).is_err());
        for wrong in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x"] {
            assert!(SigningRequest::parse(wrong.as_bytes()).is_err());
        }
    }

    /// Of the subject `/O=system:nodes/CN=system:kube-controller-manager/CN=system:node:a`.
    const TWO_NAMES: &str = "\
-----BEGIN CERTIFICATE REQUEST-----\n\
MIIBEzCBugIBADBYMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxJzAlBgNVBAMMHnN5\n\
c3RlbTprdWJlLWNvbnRyb2xsZXItbWFuYWdlcjEWMBQGA1UEAwwNc3lzdGVtOm5v\n\
ZGU6YTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKcsRTyKtKCgZZqagIEQjMvm\n\
9z9TzIeq0Rh3WM4i0baZ/d+UvxX9BubmC4BwS+K69eXlO6s0fvX8Y6EnS0OLL+2g\n\
ADAKBggqhkjOPQQDAgNIADBFAiEAywMJ/Cs+4b5FSojcukVv9qCoDvyO/FVeX+9X\n\
AwS9ZEICIELvGcrTMAg2ONEAhr+0z5ywXYOlUE0pFFGd8uAFnWLF\n\
-----END CERTIFICATE REQUEST-----\n";

    #[test]
    fn the_user_of_a_certificate_is_the_name_that_was_checked() {
        let asked = SigningRequest::parse(TWO_NAMES.as_bytes()).unwrap();
        assert_eq!(asked.common_name, "system:node:a");
        let authority = CertificateAuthority::create(SystemTime::now()).unwrap();
        let signed =
            authority.sign_request(&asked, &["client auth"], (1_800_000_000, 1_800_003_600)).unwrap();
        let block = pem::parse(&signed).unwrap();
        assert_eq!(crate::identity::of_certificate(block.contents()).unwrap().user, asked.common_name);
    }
}
