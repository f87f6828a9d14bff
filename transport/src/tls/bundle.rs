//! Verifies servers against a bundle of certificates: those of authorities, and those of servers themselves. webpki refuses a
//! server's certificate that is marked as an authority's, which `openssl req -x509` and Helm's `genSelfSignedCert` make.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::verifier::{Presented, verifier};
use super::{TlsError, certificates, provider, roots};

/// A verifier that accepts what the certificates of a PEM text have signed, and those certificates themselves.
pub(super) fn bundle_verifier(pem: &str) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let (roots, listed) = (Arc::new(roots(pem)?), certificates(pem)?);
    let signed = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|e| TlsError::malformed("authority certificate", e))?;
    Ok(verifier(move |presented| match listed.iter().any(|listed| listed == presented.end_entity) {
        true => verify_listed(presented),
        false => presented.verify_by(&*signed),
    }))
}

/// Checks name and time of a certificate that is trusted as it is.
fn verify_listed(presented: &Presented<'_>) -> Result<(), rustls::Error> {
    let certificate = presented.end_entity;
    verify_server_name(&ParsedCertificate::try_from(certificate)?, presented.server_name)?;
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let seconds = i64::try_from(presented.now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    let wrong = if seconds < validity.not_before.timestamp() {
        Some(CertificateError::NotValidYet)
    } else {
        (seconds > validity.not_after.timestamp()).then_some(CertificateError::Expired)
    };
    match wrong {
        Some(wrong) => Err(rustls::Error::InvalidCertificate(wrong)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn self_signed(is_authority: bool) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["hook.default.svc".to_owned()]).unwrap();
        if is_authority {
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2027, 1, 1);
        parameters.self_signed(&key).unwrap().pem()
    }

    fn verify(bundle: &str, presented: &str, name: &str, year: u64) -> Result<(), rustls::Error> {
        let verifier = bundle_verifier(bundle).unwrap();
        let presented = certificates(presented).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        // The middle of the year, near enough.
        let now = Duration::from_secs((year - 1970) * 31_556_952 + 15_000_000);
        let now = UnixTime::since_unix_epoch(now);
        verifier.verify_server_cert(&presented[0], &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_listed_certificate_is_trusted_for_its_names_and_time() {
        for is_authority in [false, true] {
            let own = self_signed(is_authority);
            let wrong = |result: Result<(), rustls::Error>| match result {
                Err(rustls::Error::InvalidCertificate(error)) => error,
                other => panic!("{other:?}"),
            };
            verify(&own, &own, "hook.default.svc", 2026).unwrap();
            assert!(matches!(
                wrong(verify(&own, &own, "other.default.svc", 2026)),
                CertificateError::NotValidForNameContext { .. }
            ));
            assert_eq!(wrong(verify(&own, &own, "hook.default.svc", 2028)), CertificateError::Expired);
            assert_eq!(wrong(verify(&own, &own, "hook.default.svc", 2024)), CertificateError::NotValidYet);
        }
    }

    #[test]
    fn another_certificate_of_the_same_name_is_not_trusted() {
        let (listed, forged) = (self_signed(true), self_signed(true));
        assert!(verify(&listed, &forged, "hook.default.svc", 2026).is_err());
    }
}
