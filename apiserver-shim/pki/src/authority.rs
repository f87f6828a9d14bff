//! The certificate authority of a cluster and the certificates that it signs. Keys are ECDSA P-256: fast to create and
//! to verify, and supported by all clients.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::PkiError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Certificates are valid from a day earlier, so that machines whose clocks are behind accept them.
const CLOCK_SKEW: Duration = DAY;
/// The authority is valid for longer than any certificate that it signs (ten years, as with kubeadm).
const AUTHORITY_DAYS: u32 = 3650;
/// The server's and the administrator's certificates are issued at every start, so a year is enough.
const LEAF_DAYS: u32 = 365;
/// Agents renew their certificates after two thirds of this time (a year, as with kubeadm).
const NODE_DAYS: u32 = 365;

/// The user of the certificate with which the API server forwards requests, as with kubeadm.
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

/// A certificate with its private key, both PEM.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Issued {
    pub certificate: String,
    /// Private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Additional names of a server certificate.
#[derive(Clone, Debug, Default)]
pub struct ServerNames {
    /// DNS names in addition to `kubernetes…` and `localhost`.
    pub dns: Vec<String>,
    /// Addresses in addition to loopback.
    pub addresses: Vec<IpAddr>,
}

/// A node's certificate signing request with its key.
#[derive(Debug)]
pub struct NodeRequest {
    /// The certificate signing request, PEM.
    pub csr: String,
    /// The private key, which stays on the machine; PKCS#8 PEM.
    pub key: String,
}

/// Signs the cluster's certificates.
pub struct CertificateAuthority {
    certificate: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Creates the authority of a cluster, with a new key.
    pub fn create(now: SystemTime) -> Result<Self, PkiError> {
        // Each cluster needs a subject of its own: a client that trusts two authorities finds the issuer by subject.
        Self::create_named(&format!("catamaran-ca@{}", seconds(now)), now)
    }

    /// Creates an authority with this subject and a new key.
    pub fn create_named(subject: &str, now: SystemTime) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(subject, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        valid(&mut params, now, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key).map_err(PkiError::Make)?.pem();
        Self::load(certificate, key.serialize_pem())
    }

    /// Loads the authority of an existing cluster.
    pub fn load(certificate: String, key_pem: String) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(&key_pem).map_err(|e| PkiError::malformed("authority key", e))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|e| PkiError::malformed("authority certificate", e))?;
        Ok(CertificateAuthority { certificate, key_pem, issuer })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's private key, PEM; for [`crate::directory`] alone.
    pub(crate) fn key(&self) -> &str {
        &self.key_pem
    }

    /// The key that signs.
    pub(crate) fn key_pair(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// Issues a serving certificate for the API server and the master.
    pub fn issue_server(&self, names: &ServerNames, now: SystemTime) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("kube-apiserver", None);
        params.subject_alt_names = server_sans(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, LEAF_DAYS, now)
    }

    /// Issues a client certificate for user `common_name` in at most one group.
    fn issue_client(
        &self,
        common_name: &str,
        group: Option<&str>,
        now: SystemTime,
    ) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, LEAF_DAYS, now)
    }

    /// Issues the administrator's client certificate, in group `system:masters`.
    pub fn issue_admin(&self, now: SystemTime) -> Result<Issued, PkiError> {
        self.issue_client("kubernetes-admin", Some("system:masters"), now)
    }

    /// Issues the certificate with which the API server forwards requests of its users to aggregated API servers.
    pub fn issue_front_proxy_client(&self, now: SystemTime) -> Result<Issued, PkiError> {
        self.issue_client(FRONT_PROXY_CLIENT, None, now)
    }

    /// Issues the certificate with which the API server calls the executors for logs, exec and port-forward.
    pub fn issue_kubelet_client(&self, now: SystemTime) -> Result<Issued, PkiError> {
        self.issue_client("kube-apiserver-kubelet-client", Some("system:masters"), now)
    }

    /// Signs a node's request. Only its public key is used; the subject is set here, or else a joining machine could
    /// make itself an administrator. Names and addresses come from the join request.
    pub fn sign_node(
        &self,
        csr_pem: &str,
        node_name: &str,
        names: &ServerNames,
        now: SystemTime,
    ) -> Result<String, PkiError> {
        if node_name.is_empty() || node_name.len() > 253 {
            return Err(PkiError::malformed("node name", "must have 1 to 253 characters"));
        }
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| PkiError::malformed("certificate signing request", e))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("system:node:{node_name}"), Some("system:nodes"));
        params.subject_alt_names = sans([node_name].into_iter().chain(names.dns.iter().map(String::as_str)))?;
        params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf(&mut params, NODE_DAYS, now);
        request.params = params;
        Ok(request.signed_by(&self.issuer).map_err(PkiError::Make)?.pem())
    }

    fn issue(&self, mut params: CertificateParams, days: u32, now: SystemTime) -> Result<Issued, PkiError> {
        leaf(&mut params, days, now);
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Make)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

/// Creates a node's key and its signing request.
pub fn node_request(node_name: &str) -> Result<NodeRequest, PkiError> {
    request_with(node_name, KeyPair::generate().map_err(PkiError::Make)?)
}

/// Creates a signing request with the key that a node has.
pub fn renewal_request(node_name: &str, key_pem: &str) -> Result<NodeRequest, PkiError> {
    request_with(node_name, KeyPair::from_pem(key_pem).map_err(|e| PkiError::malformed("node key", e))?)
}

fn request_with(node_name: &str, key: KeyPair) -> Result<NodeRequest, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&format!("system:node:{node_name}"), Some("system:nodes"));
    let csr = params.serialize_request(&key).map_err(PkiError::Make)?;
    Ok(NodeRequest { csr: csr.pem().map_err(PkiError::Make)?, key: key.serialize_pem() })
}

/// Creates a key for service account tokens (ES256), as private PKCS#8 PEM.
pub fn service_account_key() -> Result<String, PkiError> {
    Ok(KeyPair::generate().map_err(PkiError::Make)?.serialize_pem())
}

/// Converts a private key to PKCS#8 DER.
pub fn private_key_der(private_pem: &str) -> Result<Vec<u8>, PkiError> {
    let key = KeyPair::from_pem(private_pem).map_err(|e| PkiError::malformed("private key", e))?;
    Ok(key.serialize_der())
}

/// The public key of a private key, as SubjectPublicKeyInfo PEM.
pub fn public_key_pem(private_pem: &str) -> Result<String, PkiError> {
    let key = KeyPair::from_pem(private_pem).map_err(|e| PkiError::malformed("private key", e))?;
    Ok(key.public_key_pem())
}

/// The public key as uncompressed P-256 point (0x04, x, y), for a JSON web key set.
pub fn public_point(private_pem: &str) -> Result<Vec<u8>, PkiError> {
    let key = KeyPair::from_pem(private_pem).map_err(|e| PkiError::malformed("private key", e))?;
    Ok(key.public_key_raw().to_vec())
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    if let Some(organization) = organization {
        dn.push(DnType::OrganizationName, organization);
    }
    dn.push(DnType::CommonName, common_name);
    dn
}

fn server_sans(names: &ServerNames) -> Result<Vec<SanType>, PkiError> {
    let fixed = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    let dns = names.dns.iter().map(String::as_str).filter(|n| !fixed.contains(n));
    let mut out = sans(fixed.into_iter().chain(dns))?;
    let mut addresses: Vec<IpAddr> = vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    addresses.extend(names.addresses.iter().filter(|a| !a.is_unspecified()));
    addresses.sort();
    addresses.dedup();
    out.extend(addresses.into_iter().map(SanType::IpAddress));
    Ok(out)
}

fn sans<'a>(dns: impl Iterator<Item = &'a str>) -> Result<Vec<SanType>, PkiError> {
    dns.map(|n| {
        let name = n.try_into().map_err(|e: rcgen::Error| PkiError::malformed("host name", e))?;
        Ok(SanType::DnsName(name))
    })
    .collect()
}

fn leaf(params: &mut CertificateParams, days: u32, now: SystemTime) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    valid(params, now, days);
}

fn valid(params: &mut CertificateParams, now: SystemTime, days: u32) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let start = Duration::from_secs(seconds(now));
    params.not_before = epoch + start.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + start + DAY * days;
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}
