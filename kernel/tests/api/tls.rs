//! Agents on other machines: one port for TLS and plain HTTP, joining with a token, links with a certificate only.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use kernel::{
    agent_link::{
        AddressRange, AddressRangeError, Addresses, Dialer, JoinAuthority, JoinRefusal, JoinRequest, Joined,
        LinkError, TlsDialer, join, request_address_range,
    },
    server::{AgentEndpoint, MasterHandle, MasterOptions, start},
};
use kernel_model::agent::{ToAgent, ToMaster};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use store::MemoryStore;

use crate::{client::get, fake_agent};

/// A certificate authority for one test, with client and server configurations.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("signed") }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots
    }

    fn leaf(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
    }

    fn server(&self) -> Arc<ServerConfig> {
        let (chain, key) = self.leaf();
        let verifier = WebPkiClientVerifier::builder(Arc::new(self.roots())).allow_unauthenticated().build();
        let builder = ServerConfig::builder().with_client_cert_verifier(verifier.expect("roots"));
        Arc::new(builder.with_single_cert(chain, key).expect("a certificate"))
    }

    fn client(&self, with_certificate: bool) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots());
        Arc::new(match with_certificate {
            true => {
                let (chain, key) = self.leaf();
                builder.with_client_auth_cert(chain, key).expect("a certificate")
            }
            false => builder.with_no_client_auth(),
        })
    }
}

/// Admits every machine with the right token.
struct TestJoinAuthority;

#[async_trait]
impl JoinAuthority for TestJoinAuthority {
    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinRefusal> {
        match request.token.as_str() {
            "sesame" => Ok(Joined {
                certificate: format!("for {} of {}", request.node_name, request.addresses[0]),
                authority: "CA".into(),
                api_server: "https://api".into(),
            }),
            _ => Err(JoinRefusal("the join token is not this cluster's".into())),
        }
    }

    fn admits(&self, certificate: &[u8]) -> Result<String, JoinRefusal> {
        assert!(!certificate.is_empty());
        Ok("node".into())
    }

    async fn renew(&self, certificate: &[u8], request: JoinRequest) -> Result<Joined, JoinRefusal> {
        self.admits(certificate)?;
        let certificate = format!("renewed for {}", request.node_name);
        Ok(Joined { certificate, authority: "ca".into(), api_server: "https://server:6443".into() })
    }

    async fn address_range(
        &self,
        node_name: &str,
        requested: Option<&str>,
    ) -> Result<Addresses, AddressRangeError> {
        assert_eq!(node_name, "node");
        let range = match requested {
            None => AddressRange::Assigned("10.244.0.0/24".into()),
            Some("full") => AddressRange::Exhausted("none is left".into()),
            Some(taken) => return Err(AddressRangeError::Refused(format!("{taken} is taken"))),
        };
        Ok(Addresses { range, virtual_ranges: vec!["10.96.0.0/12".into()] })
    }
}

fn fixed(config: Arc<rustls::ClientConfig>) -> transport::client::TlsSource {
    Arc::new(move || Ok(config.clone()))
}

async fn master(authority: &Authority) -> MasterHandle {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = AgentEndpoint { tls: authority.server(), authority: Arc::new(TestJoinAuthority) };
    let options = MasterOptions::new(Arc::new(MemoryStore::new()), SocketAddr::from(([127, 0, 0, 1], 0)));
    start(MasterOptions { agent_endpoint: Some(endpoint), access: super::access(), ..options })
        .await
        .expect("a free port")
}

#[tokio::test]
async fn an_agent_registers_over_tls_beside_plain_clients() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new();
    let master = master(&authority).await;
    let address = master.mesos_address();
    let dialer = TlsDialer { master: address.to_string(), tls: fixed(authority.client(true)) };
    let mut link = dialer.dial().await.expect("a link");
    link.outgoing.send(ToMaster::Register { info: fake_agent::info("far").into() }).await.expect("open");
    let answer = link.incoming.recv().await.expect("an answer");
    assert!(matches!(answer, ToAgent::Registered { .. }), "{answer:?}");
    assert!(get(address, "/slaves").await.text().await.contains("far"));
    master.shutdown().await;
    while let Some(message) = link.incoming.recv().await {
        assert_eq!(message, ToAgent::Ping, "and then the link ends with the master");
    }
}

#[tokio::test]
async fn a_link_needs_a_certificate_and_joining_a_token() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new();
    let master = master(&authority).await;
    let address = master.mesos_address().to_string();
    let refused = TlsDialer { master: address.clone(), tls: fixed(authority.client(false)) }.dial().await;
    assert!(matches!(refused, Err(LinkError::Refused { status: 401, .. })), "{:?}", refused.err());

    let request = JoinRequest {
        token: "sesame".into(),
        node_name: "far".into(),
        addresses: vec!["10.0.0.7".parse().expect("an address")],
        csr: "a request".into(),
    };
    let joined = join(&address, &authority.client(false), &request).await.expect("admitted");
    assert_eq!(joined.certificate, "for far of 10.0.0.7");
    let wrong = JoinRequest { token: "please".into(), ..request };
    let refused = join(&address, &authority.client(false), &wrong).await;
    let Err(LinkError::Refused { status, text }) = refused else { panic!("{refused:?}") };
    assert_eq!((status, text.as_str()), (403, "the join token is not this cluster's"));
    let renewal = JoinRequest { token: String::new(), ..wrong };
    let refused = join(&address, &authority.client(false), &renewal).await;
    assert!(matches!(refused, Err(LinkError::Refused { status: 403, .. })), "{refused:?}");
    let renewed = join(&address, &authority.client(true), &renewal).await.expect("renewed");
    assert_eq!(renewed.certificate, "renewed for far");
    let stranger = TlsDialer { master: address, tls: fixed(Authority::new().client(true)) }.dial().await;
    assert!(matches!(stranger, Err(LinkError::Unreachable(_))));
}

#[tokio::test]
async fn an_address_range_needs_a_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new();
    let master = master(&authority).await;
    let address = master.mesos_address().to_string();
    let stranger = request_address_range(&address, &authority.client(false), None).await;
    assert!(matches!(stranger, Err(LinkError::Refused { status: 401, .. })), "{stranger:?}");
    let tls = authority.client(true);
    let assigned = request_address_range(&address, &tls, None).await.expect("assigned");
    assert_eq!(assigned.range, AddressRange::Assigned("10.244.0.0/24".into()));
    assert_eq!(assigned.virtual_ranges, ["10.96.0.0/12"]);
    let full = request_address_range(&address, &tls, Some("full")).await.expect("answered");
    assert_eq!(full.range, AddressRange::Exhausted("none is left".into()));
    assert_eq!(full.virtual_ranges, ["10.96.0.0/12"]);
    let refused = request_address_range(&address, &tls, Some("10.0.0.0/24")).await;
    let Err(LinkError::Refused { status, text }) = refused else { panic!("{refused:?}") };
    assert_eq!((status, text.as_str()), (409, "10.0.0.0/24 is taken"));
}
