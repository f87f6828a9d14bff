//! Tests of keys and certificates, with handshakes of in-memory rustls connections.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::authority::{node_request, public_key_pem, public_point, renewal_request};
use transport::tls::{ALPN_HTTP, ClientCertificate, client_config, server_config};

use crate::tls::joining_config;
use crate::{CertificateAuthority, Identity, JoinToken, Pki, ServerNames, identity};

fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<Option<Identity>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
        }
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
        }
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(server.peer_certificates().map(|c| identity::of_certificate(&c[0]).unwrap()))
}

fn server_of(authority: &CertificateAuthority, clients: ClientCertificate) -> Arc<ServerConfig> {
    let now = SystemTime::now();
    let names = ServerNames { dns: vec!["host-a".into()], addresses: vec![[192, 0, 2, 7].into()] };
    let cert = authority.issue_server(&names, now).unwrap();
    server_config(&cert.certificate, &cert.key, authority.certificate(), clients, ALPN_HTTP).unwrap()
}

#[test]
fn every_name_of_the_server_is_accepted_and_no_other() {
    let authority = CertificateAuthority::create(SystemTime::now()).unwrap();
    let server = server_of(&authority, ClientCertificate::Optional);
    let client = client_config(authority.certificate(), None, ALPN_HTTP).unwrap();
    for name in ["kubernetes", "kubernetes.default.svc", "localhost", "127.0.0.1", "host-a", "192.0.2.7"] {
        assert_eq!(shake(client.clone(), server.clone(), name).unwrap(), None, "{name}");
    }
    assert!(shake(client, server, "host-b").is_err());
}

#[test]
fn client_certificates_authenticate_and_unknown_authorities_are_refused() {
    let now = SystemTime::now();
    let authority = CertificateAuthority::create(now).unwrap();
    let server = server_of(&authority, ClientCertificate::Required);
    let ask = |ca: &CertificateAuthority| {
        let admin = ca.issue_admin(now).unwrap();
        let id = Some((admin.certificate.as_str(), admin.key.as_str()));
        let client = client_config(authority.certificate(), id, ALPN_HTTP).unwrap();
        shake(client, server.clone(), "localhost")
    };
    let who = ask(&authority).unwrap().unwrap();
    assert_eq!((who.user.as_str(), who.groups), ("kubernetes-admin", vec!["system:masters".to_string()]));
    assert!(ask(&CertificateAuthority::create(now).unwrap()).is_err());
}

#[test]
fn a_node_certificate_has_the_name_that_the_server_sets() {
    let now = SystemTime::now();
    let authority = CertificateAuthority::create(now).unwrap();
    let request = node_request("liar").unwrap();
    let names = ServerNames { dns: vec![], addresses: vec![[127, 0, 0, 2].into()] };
    let certificate = authority.sign_node(&request.csr, "n1", &names, now).unwrap();
    let client =
        client_config(authority.certificate(), Some((certificate.as_str(), request.key.as_str())), ALPN_HTTP)
            .unwrap();
    let who =
        shake(client, server_of(&authority, ClientCertificate::Optional), "localhost").unwrap().unwrap();
    assert_eq!((who.user.as_str(), who.groups), ("system:node:n1", vec!["system:nodes".to_string()]));
    assert_eq!(identity::node_name(&who.user), Some("n1"));
    let server = server_config(
        &certificate,
        &request.key,
        authority.certificate(),
        ClientCertificate::Optional,
        ALPN_HTTP,
    )
    .unwrap();
    let client = client_config(authority.certificate(), None, ALPN_HTTP).unwrap();
    assert!(shake(client, server, "127.0.0.2").is_ok());
    assert!(authority.sign_node("garbage", "n1", &names, now).is_err());
    assert!(authority.sign_node(&request.csr, "", &names, now).is_err());
}

#[test]
fn a_join_token_verifies_cluster_and_secret() {
    let now = SystemTime::now();
    let (ours, theirs) =
        (CertificateAuthority::create(now).unwrap(), CertificateAuthority::create(now).unwrap());
    let token = JoinToken::new(ours.certificate(), "s3cret").unwrap();
    assert!(token.accepts(&token.to_string()));
    assert!(!token.accepts(&JoinToken::new(ours.certificate(), "guess").unwrap().to_string()));
    assert!(!token.accepts("K10::"));
    assert!(!format!("{token:?}").contains("s3cret"));
    let client = joining_config(&token, ALPN_HTTP).unwrap();
    assert!(shake(client.clone(), server_of(&ours, ClientCertificate::Optional), "127.0.0.1").is_ok());
    assert!(shake(client, server_of(&theirs, ClientCertificate::Optional), "127.0.0.1").is_err());
    for bad in ["", "K10", "K10abc::x", &format!("K10{}::", "0".repeat(64))] {
        assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
    }
}

#[test]
fn keys_are_kept_over_restarts_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open_or_create(dir.path(), SystemTime::now()).unwrap();
    let second = Pki::open_or_create(dir.path(), SystemTime::now()).unwrap();
    assert_eq!(first.authority.certificate(), second.authority.certificate());
    assert_eq!(first.service_account_key, second.service_account_key);
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let token = first.join_tokens.current(now, hour).unwrap();
    assert_eq!(second.join_tokens.current(now, hour).unwrap(), token);
    for key in ["ca.key", "sa.key", "join-tokens"] {
        let mode = std::fs::metadata(dir.path().join("pki").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert!(public_key_pem(&first.service_account_key).unwrap().contains("PUBLIC KEY"));
    assert_eq!(public_point(&first.service_account_key).unwrap().len(), 65);
    let admin = first.authority.issue_admin(SystemTime::now()).unwrap();
    let text = crate::kubeconfig::render("https://127.0.0.1:6443", first.authority.certificate(), &admin);
    assert!(text.contains("server: https://127.0.0.1:6443"));
}

/// A kubeconfig as [`crate::kubeconfig::render`] writes it, with readable values.
fn kubeconfig_of(server: &str, authority: &str, key: &str) -> String {
    let admin = crate::Issued { certificate: "certificate".into(), key: key.into() };
    crate::kubeconfig::render(server, authority, &admin)
}

#[test]
fn a_merged_kubeconfig_keeps_what_its_owner_has_written() {
    let first = kubeconfig_of("https://127.0.0.1:6443", "authority", "old");
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\ncontexts:\n- name: work\n  context: {cluster: w, user: w}\n";
    let merged = crate::kubeconfig::merge(theirs, &first).unwrap();
    assert_eq!(merged.context, "catamaran");
    assert!(merged.text.contains("current-context: work"), "{}", merged.text);
    assert!(merged.text.contains("name: work"), "{}", merged.text);
    let edited = merged.text.replace("    user: catamaran\n", "    user: catamaran\n    namespace: team\n");
    assert_ne!(edited, merged.text);
    // The same authority at another address, with another key.
    let moved = kubeconfig_of("https://192.0.2.1:6443", "authority", "new");
    let again = crate::kubeconfig::merge(&edited, &moved).unwrap();
    assert_eq!(again.context, "catamaran");
    assert!(
        again.text.contains("namespace: team") && again.text.contains("https://192.0.2.1:6443"),
        "{}",
        again.text
    );
    assert!(!again.text.contains("127.0.0.1"), "{}", again.text);
    assert_eq!(crate::kubeconfig::merge(&again.text, &moved).unwrap().text, again.text);
}

#[test]
fn another_cluster_gets_a_name_of_its_own() {
    let first = kubeconfig_of("https://127.0.0.1:6443", "one", "k");
    let second = kubeconfig_of("https://127.0.0.1:7443", "two", "k");
    let merged = crate::kubeconfig::merge(&first, &second).unwrap();
    assert_eq!(merged.context, "catamaran-2");
    assert!(merged.text.contains("current-context: catamaran\n"), "{}", merged.text);
    assert_eq!(crate::kubeconfig::merge(&merged.text, &second).unwrap().context, "catamaran-2");
    assert_eq!(crate::kubeconfig::merge(&merged.text, &first).unwrap().context, "catamaran");
    // A new cluster at the address of an old one takes its place.
    let anew = kubeconfig_of("https://127.0.0.1:6443", "three", "k");
    assert_eq!(crate::kubeconfig::merge(&merged.text, &anew).unwrap().context, "catamaran");
}

#[test]
fn a_removed_cluster_leaves_the_others_of_a_kubeconfig() {
    let [first, second] = ["one", "two"].map(|pem| kubeconfig_of(&format!("https://{pem}:6443"), pem, "k"));
    let merged = crate::kubeconfig::merge(&first, &second).unwrap();
    // A context of the owner for the first cluster, and one of the second cluster for the first one's user.
    let mine = "contexts:\n- name: mine\n  context: {cluster: catamaran, user: catamaran, namespace: n}\n";
    let edited = merged.text.replace("contexts:\n", mine);
    let removed = crate::kubeconfig::remove(&edited, "one").unwrap();
    assert_eq!(removed.contexts, ["mine", "catamaran"]);
    assert!(removed.text.contains("current-context: ''\n"), "{}", removed.text);
    assert!(!removed.text.contains("name: catamaran\n"), "{}", removed.text);
    assert_eq!(removed.text.matches("name: catamaran-2\n").count(), 3, "{}", removed.text);
    assert_eq!(crate::kubeconfig::remove(&removed.text, "one").unwrap().contexts, [""; 0]);
    let shared = edited
        .replace("cluster: catamaran-2\n    user: catamaran-2", "cluster: catamaran-2\n    user: catamaran");
    assert_ne!(shared, edited);
    let removed = crate::kubeconfig::remove(&shared, "one").unwrap();
    assert_eq!(removed.text.matches("name: catamaran\n").count(), 1, "its user is in use: {}", removed.text);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    assert_eq!(crate::directory::remove_from_kubeconfig(&path, "one").unwrap(), [""; 0]);
    assert!(!path.exists());
    std::fs::write(&path, &first).unwrap();
    assert_eq!(crate::directory::remove_from_kubeconfig(&path, "two").unwrap(), [""; 0]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first, "nothing of the cluster, no change");
    assert_eq!(crate::directory::remove_from_kubeconfig(&path, "one").unwrap(), ["catamaran"]);
}

#[test]
fn a_kubeconfig_that_is_none_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    for text in ["- a\n", "a: [\n", "clusters: 5\n", "clusters: [5]\nusers: []\ncontexts: 7\n"] {
        std::fs::write(&path, text).unwrap();
        let ours = kubeconfig_of("https://127.0.0.1:6443", "one", "k");
        let error = crate::directory::merge_kubeconfig(&path, &ours, None).unwrap_err();
        assert!(error.to_string().contains("repair or remove the file"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_kubeconfig_has_the_mode_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/kubeconfig");
    let ours = kubeconfig_of("https://127.0.0.1:6443", "one", "k");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    crate::directory::merge_kubeconfig(&path, &ours, None).unwrap();
    assert_eq!(mode(), 0o600);
    crate::directory::merge_kubeconfig(&path, &ours, Some(0o644)).unwrap();
    assert_eq!(mode(), 0o644);
    crate::directory::merge_kubeconfig(&path, &kubeconfig_of("https://h:1", "one", "k"), None).unwrap();
    assert_eq!(mode(), 0o644);
}

#[test]
fn join_tokens_expire_and_can_be_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), SystemTime::now()).unwrap();
    let tokens = &pki.join_tokens;
    let day = Duration::from_secs(24 * 3600);
    let start = SystemTime::now();
    let first = tokens.current(start, day).unwrap();
    assert_eq!(tokens.current(start + day / 3, day).unwrap(), first);
    let second = tokens.current(start + day * 2 / 3, day).unwrap();
    assert_ne!(first, second);
    let accepted = |token: &JoinToken, at| tokens.accepts(&token.to_string(), at).unwrap();
    assert!(accepted(&first, start + day * 3 / 4) && accepted(&second, start + day * 3 / 4));
    assert!(!accepted(&first, start + day * 2) && !accepted(&second, start + day * 2));
    let third = tokens.rotate(start, day).unwrap();
    assert!(accepted(&third, start) && !accepted(&first, start) && !accepted(&second, start));
    assert!(!tokens.accepts("", start).unwrap());
}

/// The token of an earlier version stays valid for the lifetime of a new one.
#[test]
fn a_token_without_an_end_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open_or_create(dir.path(), SystemTime::now()).unwrap();
    std::fs::write(dir.path().join("pki/join-secret"), "s3cret\n").unwrap();
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    let token = pki.join_tokens.current(now, day).unwrap();
    assert!(token.to_string().ends_with("::s3cret"), "{token}");
    assert!(pki.join_tokens.accepts(&token.to_string(), now + day / 2).unwrap());
    assert!(!pki.join_tokens.accepts(&token.to_string(), now + day * 2).unwrap());
    assert!(!dir.path().join("pki/join-secret").exists());
}

#[test]
fn certificates_are_renewed_with_their_key_before_they_end() {
    let now = SystemTime::now();
    let authority = CertificateAuthority::create(now).unwrap();
    let request = node_request("n").unwrap();
    let names = ServerNames::default();
    let certificate = authority.sign_node(&request.csr, "n", &names, now).unwrap();
    let day = Duration::from_secs(24 * 3600);
    assert!(!identity::is_due_for_renewal(&certificate, now + day * 200).unwrap());
    assert!(identity::is_due_for_renewal(&certificate, now + day * 300).unwrap());
    let renewal = renewal_request("n", &request.key).unwrap();
    assert_eq!(renewal.key, request.key);
    let renewed = authority.sign_node(&renewal.csr, "n", &names, now + day * 300).unwrap();
    assert!(!identity::is_due_for_renewal(&renewed, now + day * 300).unwrap());
}

#[test]
fn a_rendered_kubeconfig_is_read() {
    for length in 1..5 {
        let (authority, key) = ("a".repeat(length), "\u{fc}/+".repeat(length));
        let read =
            crate::kubeconfig::read(&kubeconfig_of("https://127.0.0.1:6443", &authority, &key)).unwrap();
        assert_eq!(
            (read.server.as_str(), read.authority, read.key),
            ("https://127.0.0.1:6443", authority, key)
        );
    }
    let refused = crate::kubeconfig::read("current-context: x").unwrap_err();
    assert_eq!(refused.to_string(), "kubeconfig is not valid: it has no cluster");
}
