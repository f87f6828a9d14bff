//! Authentication and authorization: certificates, tokens, impersonation and reviews.

use expect_test::expect;
use serde_json::json;

use crate::harness::{Server, request, show};
use apiserver_shim::auth::authentication::{BoundObject, DEFAULT_AUDIENCE, TokenSubject, User};
use apiserver_shim::http::service::Caller;

#[tokio::test]
async fn anonymous_users_and_nodes_have_limited_access() {
    let server = Server::start().await;
    let mut out = String::new();
    let node = shim_pki::Identity { user: "system:node:n1".into(), groups: vec!["system:nodes".into()] };
    let node = Caller::Known(std::sync::Arc::new(User::certified(node)));
    for (who, caller) in [("nobody", Caller::Unknown), ("node", node)] {
        let service = server.service().for_caller(caller);
        for line in [
            "GET /version",
            "GET /apis/apps",
            "GET /api/v1/namespaces/default/pods",
            "DELETE /api/v1/namespaces/default/pods/x",
            "GET /api/v1/nodes/n1 | Authorization: Bearer nonsense",
        ] {
            let text = show(service.respond(request(line, "")).await).await;
            let shown: String = text.chars().take(230).collect();
            out.push_str(&format!("{who}: {line}\n  {shown}\n"));
        }
    }
    expect![[r#"
        nobody: GET /version
          200 {"buildDate":"<time>","compiler":"rustc","emulationMajor":"1","emulationMinor":"36","gitCommit":"unknown","gitTreeState":"clean","gitVersion":"v1.36.0+catamaran-0.1.0","goVersion":"none","major":"1","minCompatibilityMajor":"1"
        nobody: GET /apis/apps
          403 {"apiVersion":"v1","code":403,"details":{},"kind":"Status","message":"forbidden: User \"system:anonymous\" cannot get path \"/apis/apps\"","metadata":{},"reason":"Forbidden","status":"Failure"}
        nobody: GET /api/v1/namespaces/default/pods
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods"},"kind":"Status","message":"pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"","metadata":{},"reaso
        nobody: DELETE /api/v1/namespaces/default/pods/x
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"x"},"kind":"Status","message":"pods \"x\" is forbidden: User \"system:anonymous\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\"","
        nobody: GET /api/v1/nodes/n1 | Authorization: Bearer nonsense
          401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        node: GET /version
          200 {"buildDate":"<time>","compiler":"rustc","emulationMajor":"1","emulationMinor":"36","gitCommit":"unknown","gitTreeState":"clean","gitVersion":"v1.36.0+catamaran-0.1.0","goVersion":"none","major":"1","minCompatibilityMajor":"1"
        node: GET /apis/apps
          200 {"apiVersion":"v1","kind":"APIGroup","name":"apps","preferredVersion":{"groupVersion":"apps/v1","version":"v1"},"versions":[{"groupVersion":"apps/v1","version":"v1"}]}
        node: GET /api/v1/namespaces/default/pods
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods"},"kind":"Status","message":"pods is forbidden: User \"system:node:n1\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\": can only list/watch po
        node: DELETE /api/v1/namespaces/default/pods/x
          404 {"apiVersion":"v1","code":404,"details":{"kind":"pods","name":"x"},"kind":"Status","message":"pods \"x\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        node: GET /api/v1/nodes/n1 | Authorization: Bearer nonsense
          404 {"apiVersion":"v1","code":404,"details":{"kind":"nodes","name":"n1"},"kind":"Status","message":"nodes \"n1\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn a_token_is_valid_until_its_account_is_deleted() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    let made = server.json(&format!("POST {path}/token"), r#"{"spec":{"expirationSeconds":600}}"#).await;
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    let service = server.service().for_caller(Caller::Unknown);
    let who = || async {
        let line =
            format!("POST /apis/authentication.k8s.io/v1/selfsubjectreviews | Authorization: Bearer {token}");
        show(service.respond(request(&line, "{}")).await).await
    };
    let known = who().await;
    assert!(known.starts_with("201 ") && known.contains("system:serviceaccount:default:default"), "{known}");
    // Browsers send the token as a WebSocket sub-protocol.
    use base64::Engine;
    let offered = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&token);
    let line = format!(
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews | Sec-WebSocket-Protocol: v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{offered}"
    );
    assert!(show(service.respond(request(&line, "{}")).await).await.starts_with("201 "));
    let body = format!(r#"{{"spec":{{"token":"{token}"}}}}"#);
    let review = server.json("POST /apis/authentication.k8s.io/v1/tokenreviews", &body).await;
    assert_eq!(review["status"]["authenticated"], true);
    server.ask(&format!("DELETE {path}"), "").await;
    server.handle.registry().fresh().await.unwrap();
    assert!(who().await.starts_with("401 "));
}

#[tokio::test]
async fn invalid_tokens_are_unauthenticated() {
    let server = Server::start().await;
    let api = server.service().api().clone();
    let authenticator = &api.authenticator;
    let account = server.json("GET /api/v1/namespaces/default/serviceaccounts/default", "").await;
    let account =
        BoundObject { name: "default".into(), uid: account["metadata"]["uid"].as_str().unwrap().into() };
    let subject = |pod: Option<BoundObject>| TokenSubject {
        namespace: "default".into(),
        service_account: account.clone(),
        pod,
        secret: None,
        node: None,
    };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let own = || vec![DEFAULT_AUDIENCE.to_owned()];
    let issue =
        |pod, audiences, at, seconds| authenticator.issue(subject(pod), audiences, at, seconds).unwrap();
    let good = issue(None, own(), now, 600);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let gone = BoundObject { name: "gone".into(), uid: "u".into() };
    let tokens = [
        ("good", good.clone()),
        ("expired", issue(None, own(), now - 7200, 3600)),
        ("not yet", issue(None, own(), now + 3600, 3600)),
        ("for others", issue(None, vec!["others".into()], now, 600)),
        ("of a Pod that is gone", issue(Some(gone), own(), now, 600)),
        ("forged", forged),
        ("unsigned", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        ("no token", "....".to_owned()),
    ];
    let service = server.service().for_caller(Caller::Unknown);
    let mut out = String::new();
    for (what, token) in tokens {
        let line = format!("GET /api/v1/namespaces/default/pods | Authorization: Bearer {token}");
        let shown = show(service.respond(request(&line, "")).await).await;
        out.push_str(&format!("{what}: {shown}\n"));
    }
    expect![[r#"
        good: 403 {"apiVersion":"v1","code":403,"details":{"kind":"pods"},"kind":"Status","message":"pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"","metadata":{},"reason":"Forbidden","status":"Failure"}
        expired: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        not yet: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        for others: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        of a Pod that is gone: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        forged: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        unsigned: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
        no token: 401 {"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn reviews_and_impersonation() {
    let server = Server::start().await;
    let script = r#"
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews <- {"spec":{"resourceAttributes":{"verb":"delete","resource":"nodes"}}}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews | Impersonate-User: jane <- {"spec":{"resourceAttributes":{"verb":"delete","resource":"nodes"}}}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"user":"system:node:n","groups":["system:nodes"],"resourceAttributes":{"verb":"get","resource":"pods"}}}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews <- {"spec":{}}
        GET /api/v1/namespaces/default/secrets | Impersonate-User: jane
        GET /api/v1/namespaces/default/secrets | Impersonate-Group: g
        GET /apis/authorization.k8s.io/v1/subjectaccessreviews
        "#;
    expect![[r#"
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews <- {"spec":{"resourceAttributes":{"verb":"delete","resource":"nodes"}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","metadata":{},"spec":{"resourceAttributes":{"resource":"nodes","verb":"delete"}},"status":{"allowed":true}}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews | Impersonate-User: jane <- {"spec":{"resourceAttributes":{"verb":"delete","resource":"nodes"}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","metadata":{},"spec":{"resourceAttributes":{"resource":"nodes","verb":"delete"}},"status":{"allowed":false}}
        POST /apis/authorization.k8s.io/v1/subjectaccessreviews <- {"spec":{"user":"system:node:n","groups":["system:nodes"],"resourceAttributes":{"verb":"get","resource":"pods"}}}
          201 {"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{},"spec":{"groups":["system:nodes"],"resourceAttributes":{"resource":"pods","verb":"get"},"user":"system:node:n"},"status":{"allowed":false,"reason":"No Object name found"}}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews <- {"spec":{}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.resourceAttributes","message":"Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified","reason":"FieldValueInvalid"}],"group":"authorization.k8s.io"},"kind":"Status","message":".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified","metadata":{},"reason":"Invalid","status":"Failure"}
        GET /api/v1/namespaces/default/secrets | Impersonate-User: jane
          403 {"apiVersion":"v1","code":403,"details":{"kind":"secrets"},"kind":"Status","message":"secrets is forbidden: User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\"","metadata":{},"reason":"Forbidden","status":"Failure"}
        GET /api/v1/namespaces/default/secrets | Impersonate-Group: g
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"requested [{Group  g    }] without impersonating a user","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /apis/authorization.k8s.io/v1/subjectaccessreviews
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
}

/// A review is not stored: it has no table.
#[tokio::test]
async fn reviews_as_tables_are_not_acceptable() {
    let server = Server::start().await;
    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io";
    let body = r#"{"spec":{"nonResourceAttributes":{"verb":"get","path":"/"}}}"#;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let refused = server.ask(&format!("POST {path} | {table}"), body).await;
    assert!(refused.starts_with("406 "), "{refused}");
    let answered = server.ask(&format!("POST {path}"), body).await;
    assert!(answered.starts_with("201 "), "{answered}");
}

/// Signers watch the requests for their own name.
#[tokio::test]
async fn certificate_requests_are_selected_by_their_signer() {
    let server = Server::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let line = format!("GET {path}?fieldSelector=spec.signerName%3Dexample.com%2Fserving");
    let listed = server.ask(&line, "").await;
    assert!(listed.starts_with("200 "), "{listed}");
    let unknown = server.ask(&format!("GET {path}?fieldSelector=spec.username%3Dbob"), "").await;
    assert!(unknown.starts_with("400 "), "{unknown}");
}

/// The global default of PriorityClasses is one at a time.
#[tokio::test]
async fn there_is_one_default_priority_class() {
    let server = Server::start().await;
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, default: bool| {
        json!({"metadata": {"name": name}, "value": 1, "globalDefault": default}).to_string()
    };
    assert!(server.ask(&format!("POST {path}"), &class("first", true)).await.starts_with("201 "));
    assert!(server.ask(&format!("POST {path}"), &class("plain", false)).await.starts_with("201 "));
    let second = server.ask(&format!("POST {path}"), &class("second", true)).await;
    let why = "priorityclasses.scheduling.k8s.io \\\"second\\\" is forbidden: PriorityClass first is already marked as default. Only one default can exist";
    assert!(second.starts_with("403 ") && second.contains(why), "{second}");
    assert!(server.ask(&format!("PUT {path}/first"), &class("first", true)).await.starts_with("200 "));
    assert!(server.ask(&format!("PUT {path}/plain"), &class("plain", true)).await.starts_with("403 "));
    assert!(server.ask(&format!("DELETE {path}/first"), "").await.starts_with("200 "));
    assert!(server.ask(&format!("PUT {path}/plain"), &class("plain", true)).await.starts_with("200 "));
}
