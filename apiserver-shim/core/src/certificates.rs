//! The rules of the built-in certificate signers: which requests each signs, what for and how long, and which requests of nodes
//! are approved without a person. Reading requests and signing them is done by a [`CertificateSigner`].

use serde_json::Value;
use shim_model::access;
use shim_model::base64;

use crate::rows::Seconds;

/// Certificates of users and components.
pub const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Client certificates of nodes.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of nodes.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Anything, on the approver's responsibility.
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

/// The longest and default validity (upstream's `--cluster-signing-duration`).
const VALIDITY: Seconds = 365 * 24 * 3600;
/// The shortest validity (upstream's).
const VALIDITY_MIN: Seconds = 600;
/// Certificates are valid from this long ago (upstream's).
const BACKDATE: Seconds = 5 * 60;
/// The end of a shorter validity is not moved by [`BACKDATE`] (upstream's).
const SHORT: Seconds = 8 * 3600;

/// What a certificate signing request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct RequestedCertificate {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub emails: Vec<String>,
    pub addresses: Vec<String>,
    pub uris: Vec<String>,
}

/// Reads and signs requests.
pub trait CertificateSigner: std::fmt::Debug + Send + Sync {
    /// Reads a request in PEM, and checks its signature.
    fn read(&self, request: &[u8]) -> Result<RequestedCertificate, String>;

    /// Signs a request in PEM for these usages, from and until these times. Returns the certificate in PEM.
    fn sign(&self, request: &[u8], usages: &[&str], validity: (Seconds, Seconds)) -> Result<String, String>;

    /// When a certificate in PEM ends.
    fn end(&self, certificate: &[u8]) -> Option<Seconds>;
}

/// The request of a CertificateSigningRequest, in PEM.
pub fn request_of(object: &Value) -> Vec<u8> {
    base64::decode(access::text(object, &["spec", "request"])).unwrap_or_default()
}

/// The usages of a CertificateSigningRequest.
pub fn usages_of(object: &Value) -> Vec<&str> {
    access::list(object, &["spec", "usages"]).iter().filter_map(Value::as_str).collect()
}

/// Whether a built-in signer signs such a request: `None` if it is of another signer, otherwise why not.
pub fn check(signer: &str, asked: &RequestedCertificate, usages: &[&str]) -> Option<Result<(), String>> {
    match signer {
        API_CLIENT => Some(client_usages(usages)),
        KUBELET_CLIENT => Some(kubelet_client(asked, usages)),
        KUBELET_SERVING => Some(kubelet_serving(asked, usages)),
        LEGACY_UNKNOWN => Some(Ok(())),
        _ => None,
    }
}

fn client_usages(usages: &[&str]) -> Result<(), String> {
    for usage in usages {
        if !matches!(*usage, "digital signature" | "key encipherment" | "client auth") {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    match usages.contains(&"client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".to_owned()),
    }
}

/// The usages with and without an RSA key; the message lists the former.
fn exact_usages(usages: &[&str], auth: &str) -> Result<(), String> {
    let has = |wanted: &[&str]| {
        wanted.iter().all(|usage| usages.contains(usage)) && usages.iter().all(|usage| wanted.contains(usage))
    };
    if has(&["digital signature", "key encipherment", auth]) || has(&["digital signature", auth]) {
        return Ok(());
    }
    let mut wanted = ["digital signature", "key encipherment", auth];
    wanted.sort_unstable();
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

fn of_nodes(asked: &RequestedCertificate) -> Result<(), String> {
    match asked.organizations == ["system:nodes"] {
        true => Ok(()),
        false => Err("subject organization is not system:nodes".to_owned()),
    }
}

fn of_a_node(asked: &RequestedCertificate) -> Result<(), String> {
    match asked.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

fn none(names: &[String], what: &str) -> Result<(), String> {
    if names.is_empty() { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
}

fn kubelet_serving(asked: &RequestedCertificate, usages: &[&str]) -> Result<(), String> {
    of_nodes(asked)?;
    if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    none(&asked.emails, "Email")?;
    none(&asked.uris, "URI")?;
    exact_usages(usages, "server auth")?;
    of_a_node(asked)
}

fn kubelet_client(asked: &RequestedCertificate, usages: &[&str]) -> Result<(), String> {
    of_nodes(asked)?;
    none(&asked.dns_names, "DNS")?;
    none(&asked.emails, "Email")?;
    none(&asked.addresses, "IP")?;
    none(&asked.uris, "URI")?;
    of_a_node(asked)?;
    exact_usages(usages, "client auth")
}

/// When a certificate begins and ends.
pub fn validity(expiration_seconds: Option<Seconds>, now: Seconds) -> (Seconds, Seconds) {
    let duration = expiration_seconds.map_or(VALIDITY, |asked| asked.clamp(VALIDITY_MIN, VALIDITY));
    let end = if duration < SHORT { now + duration } else { now + duration - BACKDATE };
    (now - BACKDATE, end)
}

/// The permissions that let a request of a node be approved, with the message of each, in the order in which they are tried:
/// a subresource of CertificateSigningRequests that its requester may create.
pub fn approvals(
    object: &Value,
    asked: &RequestedCertificate,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let recognized = access::text(object, &["spec", "signerName"]) == KUBELET_CLIENT
        && kubelet_client(asked, &usages_of(object)).is_ok();
    let own = access::text(object, &["spec", "username"]) == asked.common_name;
    [
        (
            recognized && own,
            ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
        ),
        (recognized, ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")),
    ]
    .into_iter()
    .filter_map(|(applies, approval)| applies.then_some(approval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> RequestedCertificate {
        RequestedCertificate {
            common_name: "system:node:a".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            ..RequestedCertificate::default()
        }
    }

    fn verdict(signer: &str, asked: &RequestedCertificate, usages: &[&str]) -> String {
        match check(signer, asked, usages) {
            None => "of another signer".to_owned(),
            Some(Ok(())) => "signs".to_owned(),
            Some(Err(why)) => why,
        }
    }

    #[test]
    fn signers_have_upstreams_rules() {
        let client = ["client auth", "digital signature", "key encipherment"];
        let serving = ["server auth", "digital signature"];
        let named = RequestedCertificate { dns_names: vec!["a".to_owned()], ..node() };
        for (signer, asked, usages, expected) in [
            (API_CLIENT, &RequestedCertificate::default(), &client[..], "signs"),
            (API_CLIENT, &node(), &serving[..], "invalid usage for client certificate: server auth"),
            (API_CLIENT, &node(), &client[1..], "missing required usage for client certificate: client auth"),
            (KUBELET_CLIENT, &node(), &client[..], "signs"),
            (KUBELET_CLIENT, &node(), &client[..2], "signs"),
            (KUBELET_CLIENT, &named, &client[..], "DNS subjectAltNames are not allowed"),
            (
                KUBELET_CLIENT,
                &node(),
                &client[..1],
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (
                KUBELET_CLIENT,
                &RequestedCertificate::default(),
                &client[..],
                "subject organization is not system:nodes",
            ),
            (KUBELET_SERVING, &node(), &serving[..], "DNS or IP subjectAltName is required"),
            (KUBELET_SERVING, &named, &serving[..], "signs"),
            (
                KUBELET_SERVING,
                &RequestedCertificate { common_name: "a".to_owned(), ..named.clone() },
                &serving[..],
                "subject common name does not begin with system:node:",
            ),
            (LEGACY_UNKNOWN, &node(), &["any"][..], "signs"),
            ("example.com/own", &node(), &client[..], "of another signer"),
        ] {
            assert_eq!(verdict(signer, asked, usages), expected, "{signer} {usages:?}");
        }
    }

    #[test]
    fn validity_is_bounded_and_backdated() {
        assert_eq!(validity(None, 1_000_000), (999_700, 1_000_000 + VALIDITY - 300));
        assert_eq!(validity(Some(600), 1_000_000), (999_700, 1_000_600));
        assert_eq!(validity(Some(24 * 3600), 1_000_000), (999_700, 1_000_000 + 24 * 3600 - 300));
        assert_eq!(validity(Some(VALIDITY * 9), 1_000_000).1, 1_000_000 + VALIDITY - 300);
    }

    #[test]
    fn nodes_are_approved_by_their_permissions() {
        let mut object = json!({"spec": {"signerName": KUBELET_CLIENT, "username": "system:bootstrap:abcdef",
            "usages": ["digital signature", "client auth"]}});
        let tried = |object: &Value| approvals(object, &node()).map(|(sub, _)| sub).collect::<Vec<_>>();
        assert_eq!(tried(&object), ["nodeclient"]);
        object["spec"]["username"] = json!("system:node:a");
        assert_eq!(tried(&object), ["selfnodeclient", "nodeclient"]);
        object["spec"]["signerName"] = json!(API_CLIENT);
        assert!(tried(&object).is_empty());
    }
}
