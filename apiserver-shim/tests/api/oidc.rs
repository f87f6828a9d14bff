//! Users of other issuers: an issuer over HTTPS with keys of its own, whose tokens the server accepts.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apiserver_shim::auth::oidc::{AuthenticationOptions, OidcFlags};
use apiserver_shim::http::body::{Response, full};
use apiserver_shim::http::service::Caller;
use apiserver_shim::pipeline::AdmissionConfiguration;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use expect_test::expect;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use shim_pki::{Pki, ServerNames};
use tokio_util::sync::{CancellationToken, DropGuard};
use transport::server::{Peer, ServerOptions, Tls};
use transport::tls::{ALPN_HTTP, ClientCertificate, server_config};

use crate::harness::{Server, request, show};

/// The keys that an issuer publishes: key id and private key.
type Keys = Arc<Mutex<Vec<(String, String)>>>;

/// Held while the keys are not answered.
type Gate = Arc<tokio::sync::Mutex<()>>;

/// Keys, how often they were fetched, the token with groups, and what holds the keys back.
type Published = (Keys, Arc<AtomicUsize>, Arc<Mutex<String>>, Gate);

struct Issuer {
    pki: Pki,
    url: String,
    keys: Keys,
    /// How often the keys were fetched.
    fetches: Arc<AtomicUsize>,
    /// What is at `/groups`.
    groups: Arc<Mutex<String>>,
    gate: Gate,
    directory: tempfile::TempDir,
    _stop: DropGuard,
}

impl Issuer {
    async fn start() -> Issuer {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_create(directory.path(), SystemTime::now()).unwrap();
        let issued = pki.authority.issue_server(&ServerNames::default(), SystemTime::now()).unwrap();
        let clients = ClientCertificate::Optional;
        let certificate = pki.authority.certificate();
        let tls = server_config(&issued.certificate, &issued.key, certificate, clients, ALPN_HTTP).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (keys, fetches, groups, gate) = Published::default();
        let shared = (keys.clone(), fetches.clone(), groups.clone(), gate.clone());
        let at = url.clone();
        let service = move |_: &Peer| {
            let (shared, at) = (shared.clone(), at.clone());
            let serve = move |request| respond(request, shared.clone(), at.clone());
            Ok(TowerToHyperService::new(tower::service_fn(serve)))
        };
        let tls = Tls::Required(Arc::new(move || Ok(tls.clone())));
        let stop = CancellationToken::new();
        let options = ServerOptions::new("issuer", 16);
        tokio::spawn(transport::server::serve(listener, tls, options, service, stop.clone()));
        let issuer = Issuer { pki, url, keys, fetches, groups, gate, directory, _stop: stop.drop_guard() };
        issuer.rotate("one");
        issuer
    }

    /// Makes a new key, the only one that is published from now on.
    fn rotate(&self, id: &str) {
        let key = self.pki.authority.issue_server(&ServerNames::default(), SystemTime::now()).unwrap().key;
        *self.keys.lock().unwrap() = vec![(id.to_owned(), key)];
    }

    /// A token with these claims beside the usual ones.
    fn token(&self, claims: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut all = json!({"iss": self.url, "aud": "cluster", "exp": now + 60, "sub": "jane"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let (id, key) = self.keys.lock().unwrap()[0].clone();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id);
        let der = shim_pki::authority::private_key_der(&key).unwrap();
        jsonwebtoken::encode(&header, &all, &EncodingKey::from_ec_der(&der)).unwrap()
    }

    fn flags(&self) -> OidcFlags {
        let ca_file = self.directory.path().join("issuer.crt");
        std::fs::write(&ca_file, self.pki.authority.certificate()).unwrap();
        OidcFlags {
            issuer_url: self.url.clone(),
            client_id: "cluster".to_owned(),
            username_claim: "sub".to_owned(),
            username_prefix: String::new(),
            groups_claim: "groups".to_owned(),
            groups_prefix: "oidc:".to_owned(),
            required_claims: Vec::new(),
            signing_algorithms: vec!["ES256".to_owned()],
            ca_file: Some(ca_file),
        }
    }

    /// A configuration file with this issuer; `more` are further members.
    fn file(&self, path: &Path, more: Value) {
        let mut issuer = json!({
            "issuer": {"url": self.url, "audiences": ["cluster", "other"], "audienceMatchPolicy": "MatchAny",
                "certificateAuthority": self.pki.authority.certificate()},
            "claimMappings": {"username": {"expression": "'issued:' + claims.sub"}, "groups": {"expression": "claims.roles"},
                "extra": [{"key": "example.com/level", "valueExpression": "claims.level"}]},
            "claimValidationRules": [{"expression": "claims.level != 'none'", "message": "no level"}],
            "userValidationRules": [{"expression": "!user.groups.exists(g, g.startsWith('system:'))", "message": "reserved"}],
        });
        issuer.as_object_mut().unwrap().extend(more["jwt"].as_object().cloned().unwrap_or_default());
        let mut file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [issuer]});
        file["anonymous"] = more["anonymous"].clone();
        std::fs::write(path, file.to_string()).unwrap();
    }
}

async fn respond(
    request: http::Request<Incoming>,
    (keys, fetches, groups, gate): Published,
    url: String,
) -> Result<Response, Infallible> {
    let key = |(id, key): &(String, String)| {
        let point = shim_pki::authority::public_point(key).unwrap();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y})
    };
    let body = match request.uri().path() {
        "/.well-known/openid-configuration" => json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
        "/keys" => {
            fetches.fetch_add(1, Ordering::Relaxed);
            drop(gate.lock().await);
            json!({"keys": keys.lock().unwrap().iter().map(key).collect::<Vec<_>>()})
        }
        "/groups" => {
            let allowed =
                request.headers().get("authorization").is_some_and(|value| value == "Bearer access");
            let (code, body) =
                if allowed { (200, groups.lock().unwrap().clone()) } else { (403, String::new()) };
            return Ok(http::Response::builder().status(code).body(full(body)).unwrap());
        }
        _ => return Ok(http::Response::builder().status(404).body(full("")).unwrap()),
    };
    Ok(http::Response::new(full(body.to_string())))
}

async fn server(authentication: AuthenticationOptions) -> Server {
    let store = Arc::new(store::MemoryStore::new());
    Server::start_with_issuers(store, None, AdmissionConfiguration::default(), authentication).await
}

/// Who the server takes the holder of a token for.
async fn who(server: &Server, token: &str) -> String {
    let line =
        format!("POST /apis/authentication.k8s.io/v1/selfsubjectreviews | Authorization: Bearer {token}");
    let service = server.service().for_caller(Caller::Unknown);
    let shown = show(service.respond(request(&line, "{}")).await).await;
    match shown.split_once(' ') {
        Some(("201", body)) => {
            let review: Value = serde_json::from_str(body).unwrap();
            review["status"]["userInfo"].to_string()
        }
        _ => shown.split(' ').next().unwrap().to_owned(),
    }
}

/// Waits until the server has read the discovery document.
async fn until_known(server: &Server, token: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = who(server, token).await;
        if found != "401" || Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn tokens_of_the_issuer_of_the_flags_are_accepted() {
    let issuer = Issuer::start().await;
    let server = server(AuthenticationOptions::of_flags(&issuer.flags()).unwrap()).await;
    let known = until_known(&server, &issuer.token(json!({"groups": ["dev"], "jti": "7"}))).await;
    expect![[r#"{"extra":{"authentication.kubernetes.io/credential-id":["JTI=7"]},"groups":["oidc:dev","system:authenticated"],"username":"URL#jane"}"#]].assert_eq(&known.replace(&issuer.url, "URL"));
    for wrong in
        [json!({"aud": "x"}), json!({"exp": 1}), json!({"iss": "https://other.example"}), json!({"sub": 5})]
    {
        assert_eq!(who(&server, &issuer.token(wrong.clone())).await, "401", "{wrong}");
    }
    // The signature of another token.
    let (one, two) = (issuer.token(json!({})), issuer.token(json!({"sub": "root"})));
    let forged = format!("{}.{}", two.rsplit_once('.').unwrap().0, one.rsplit_once('.').unwrap().1);
    assert_eq!(who(&server, &forged).await, "401");
    // Forged tokens do not make the server ask the issuer each time.
    assert_eq!(issuer.fetches.load(Ordering::Relaxed), 1);
    let review = json!({"spec": {"token": issuer.token(json!({"jti": "7"}))}}).to_string();
    let reviewed = server.json("POST /apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(reviewed["status"]["authenticated"], true, "{reviewed}");
    let expired = json!({"spec": {"token": issuer.token(json!({"exp": 1}))}}).to_string();
    let reviewed = server.json("POST /apis/authentication.k8s.io/v1/tokenreviews", &expired).await;
    expect![[r#"{"error":"oidc: verify token: oidc: token is expired (Token Expiry: 1)","user":{}}"#]]
        .assert_eq(&reviewed["status"].to_string());
    // Tokens of the cluster's own service accounts are not affected.
    let requested = server.json("POST /api/v1/namespaces/default/serviceaccounts/default/token", "{}").await;
    let own = who(&server, requested["status"]["token"].as_str().unwrap()).await;
    assert!(own.contains("system:serviceaccount:default:default"), "{own}");
    assert_eq!(who(&server, "nothing").await, "401");
}

#[tokio::test]
async fn a_key_that_is_not_known_is_fetched_once_in_a_while() {
    let issuer = Issuer::start().await;
    let server = server(AuthenticationOptions::of_flags(&issuer.flags()).unwrap()).await;
    until_known(&server, &issuer.token(json!({}))).await;
    issuer.rotate("two");
    let token = issuer.token(json!({}));
    // The keys were fetched a moment ago.
    assert_eq!(who(&server, &token).await, "401");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_ne!(who(&server, &token).await, "401");
    assert_eq!(issuer.fetches.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_cancelled_request_does_not_cancel_the_fetch_that_all_share() {
    let issuer = Issuer::start().await;
    let server = server(AuthenticationOptions::of_flags(&issuer.flags()).unwrap()).await;
    let token = issuer.token(json!({}));
    let held = issuer.gate.lock().await;
    // Once the discovery document is read, a request waits for the keys; the time limit drops it.
    while issuer.fetches.load(Ordering::Relaxed) == 0 {
        tokio::time::timeout(Duration::from_millis(500), who(&server, &token)).await.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let open = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(held);
    };
    let (one, two, ()) = tokio::join!(who(&server, &token), who(&server, &token), open);
    assert!(one != "401" && one == two, "{one} {two}");
    assert_eq!(issuer.fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn issuers_of_a_file_have_expressions_and_limit_anonymous_requests() {
    let issuer = Issuer::start().await;
    let path = issuer.directory.path().join("authentication.yaml");
    issuer.file(&path, json!({"anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}}));
    let server = server(AuthenticationOptions::read(&path).unwrap()).await;
    let claims = |roles: Value, level: &str| json!({"aud": ["other"], "roles": roles, "level": level});
    let known = until_known(&server, &issuer.token(claims(json!(["a", "b"]), "high"))).await;
    expect![[r#"{"extra":{"example.com/level":["high"]},"groups":["a","b","system:authenticated"],"username":"issued:jane"}"#]].assert_eq(&known);
    assert_eq!(who(&server, &issuer.token(claims(json!("system:masters"), "high"))).await, "401");
    assert_eq!(who(&server, &issuer.token(claims(json!("a"), "none"))).await, "401");
    let anonymous = server.service().for_caller(Caller::Unknown);
    for (path, code) in [("/livez", 200), ("/version", 401)] {
        let response = anonymous.respond(request(&format!("GET {path}"), "")).await;
        assert_eq!(response.status().as_u16(), code, "{path}");
    }
}

#[tokio::test]
async fn groups_may_be_elsewhere() {
    let issuer = Issuer::start().await;
    let server = server(AuthenticationOptions::of_flags(&issuer.flags()).unwrap()).await;
    *issuer.groups.lock().unwrap() = issuer.token(json!({"groups": ["far"]}));
    let claims = |access: &str| {
        json!({"_claim_names": {"groups": "src"},
            "_claim_sources": {"src": {"endpoint": format!("{}/groups", issuer.url), "access_token": access}}})
    };
    let known = until_known(&server, &issuer.token(claims("access"))).await;
    assert!(known.contains(r#""groups":["oidc:far","system:authenticated"]"#), "{known}");
    assert_eq!(who(&server, &issuer.token(claims("other"))).await, "401");
    *issuer.groups.lock().unwrap() = issuer.token(json!({"aud": "x", "groups": ["far"]}));
    assert_eq!(who(&server, &issuer.token(claims("access"))).await, "401");
}

#[test]
fn flags_and_files_that_are_not_valid_are_refused() {
    let flags = |url: &str, algorithm: &str| OidcFlags {
        issuer_url: url.to_owned(),
        client_id: "cluster".to_owned(),
        username_claim: "sub".to_owned(),
        username_prefix: "-".to_owned(),
        groups_claim: String::new(),
        groups_prefix: String::new(),
        required_claims: vec![("a".to_owned(), "b".to_owned())],
        signing_algorithms: vec![algorithm.to_owned()],
        ca_file: None,
    };
    let refused = |flags: &OidcFlags| AuthenticationOptions::of_flags(flags).unwrap_err().to_string();
    assert_eq!(refused(&flags("https://a", "HS256")), "oidc: unsupported signing alg: \"HS256\"");
    assert_eq!(
        refused(&flags("http://a", "RS256")),
        "jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https"
    );
    assert!(AuthenticationOptions::of_flags(&flags("https://a", "RS256")).is_ok());
}
