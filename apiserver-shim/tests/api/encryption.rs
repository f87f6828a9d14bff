//! Encryption at rest through the API: what is in the store, rotation, and objects that cannot be decrypted.

use std::path::Path;
use std::sync::Arc;

use apiserver_shim::pipeline::AdmissionConfiguration;
use apiserver_shim::storage::encryption::EncryptionAtRest;
use expect_test::expect;
use store::{Key, MemoryStore, Store};

use crate::harness::Server;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ONE: &str = "aescbc: {keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}";
const TWO: &str = "aesgcm: {keys: [{name: two, secret: YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk=}]}";

fn write(path: &Path, providers: &[&str]) {
    let providers: Vec<String> = providers.iter().map(|provider| format!("{{{provider}}}")).collect();
    let text = format!(
        "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, \
         resources: [{{resources: [secrets], providers: [{}]}}]}}",
        providers.join(", ")
    );
    std::fs::write(path, text).unwrap();
}

/// A server that encrypts Secrets in this store.
async fn server(inner: &Arc<MemoryStore>, providers: &[&str]) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encryption.yaml");
    write(&path, providers);
    let store = EncryptionAtRest::read(&path).unwrap().wrap(inner.clone());
    Server::start_on(store, None, AdmissionConfiguration::default()).await
}

/// The beginning of what is in the store.
async fn kept(inner: &MemoryStore, name: &str) -> String {
    let key = Key::new(format!("/registry/core/secrets/default/{name}"));
    let value = inner.get(&key).await.unwrap().kv.unwrap().value;
    let text = String::from_utf8_lossy(&value[..22.min(value.len())]).into_owned();
    text.chars().take_while(char::is_ascii_graphic).collect()
}

#[tokio::test]
async fn secrets_are_encrypted_and_keys_rotated() {
    let inner = Arc::new(MemoryStore::new());
    {
        let server = server(&inner, &["identity: {}"]).await;
        server.ask(&format!("POST {SECRETS}"), r#"{"metadata":{"name":"s"},"data":{"a":"Yg=="}}"#).await;
        assert!(kept(&inner, "s").await.starts_with("{\"apiVersion\""));
    }
    for (providers, expected) in [
        (&[ONE, "identity: {}"][..], "k8s:enc:aescbc:v1:one:"),
        (&[TWO, ONE], "k8s:enc:aesgcm:v1:two:"),
        (&["identity: {}", TWO], "{\"apiVersion\":\"v1\",\"ki"),
    ] {
        let server = server(&inner, providers).await;
        let before = server.json(&format!("GET {SECRETS}/s"), "").await;
        assert_eq!(before["data"]["a"], "Yg==");
        // A replacement that changes nothing writes the object again, once.
        let version = |object: &serde_json::Value| object["metadata"]["resourceVersion"].clone();
        let after = server.json(&format!("PUT {SECRETS}/s"), &before.to_string()).await;
        assert_ne!(version(&before), version(&after));
        assert_eq!(kept(&inner, "s").await, expected);
        let again = server.json(&format!("PUT {SECRETS}/s"), &after.to_string()).await;
        assert_eq!(version(&again), version(&after));
        let watched = format!("GET {SECRETS}?watch=true&timeoutSeconds=1&resourceVersion=0");
        assert!(server.ask(&watched, "").await.contains("Yg=="));
    }
}

#[tokio::test]
async fn what_cannot_be_decrypted_is_an_error_and_stays() {
    let inner = Arc::new(MemoryStore::new());
    {
        let server = server(&inner, &[ONE]).await;
        server.ask(&format!("POST {SECRETS}"), r#"{"metadata":{"name":"s"},"data":{"a":"Yg=="}}"#).await;
    }
    let before = kept(&inner, "s").await;
    let server = server(&inner, &[TWO]).await;
    server.ask(&format!("POST {SECRETS}"), r#"{"metadata":{"name":"t"}}"#).await;
    let script = r#"
        GET /api/v1/namespaces/default/secrets/s
        GET /api/v1/namespaces/default/secrets
        GET /api/v1/secrets
        GET /api/v1/namespaces/kube-system/secrets
        GET /api/v1/namespaces/default/secrets?watch=true&timeoutSeconds=1
        GET /api/v1/namespaces/default/secrets/t
        POST /api/v1/namespaces/default/secrets <- {"metadata":{"name":"s"}}
        PUT /api/v1/namespaces/default/secrets/s <- {"metadata":{"name":"s"}}
        DELETE /api/v1/namespaces/default/secrets/s
        DELETE /api/v1/namespaces/default/secrets
    "#;
    expect![[r#"
        GET /api/v1/namespaces/default/secrets/s
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
        GET /api/v1/namespaces/default/secrets
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
        GET /api/v1/secrets
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
        GET /api/v1/namespaces/kube-system/secrets
          200 {"apiVersion":"v1","items":[],"kind":"SecretList","metadata":{}}
        GET /api/v1/namespaces/default/secrets?watch=true&timeoutSeconds=1
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
        GET /api/v1/namespaces/default/secrets/t
          200 {"apiVersion":"v1","kind":"Secret","metadata":{"name":"t","namespace":"default"},"type":"Opaque"}
        POST /api/v1/namespaces/default/secrets <- {"metadata":{"name":"s"}}
          409 {"apiVersion":"v1","code":409,"details":{"kind":"secrets","name":"s"},"kind":"Status","message":"secrets \"s\" already exists","metadata":{},"reason":"AlreadyExists","status":"Failure"}
        PUT /api/v1/namespaces/default/secrets/s <- {"metadata":{"name":"s"}}
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
        DELETE /api/v1/namespaces/default/secrets/s
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
        DELETE /api/v1/namespaces/default/secrets
          500 {"apiVersion":"v1","code":500,"details":{"causes":[{"message":"unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found"}]},"kind":"Status","message":"Internal error occurred: unable to transform key \"/registry/core/secrets/default/s\": no matching prefix found","metadata":{},"reason":"InternalError","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
    assert_eq!(kept(&inner, "s").await, before);
    let metrics = server.ask("GET /metrics", "").await;
    let counted = |status: &str, prefix: &str, direction: &str| {
        let line = format!(
            "apiserver_storage_transformation_operations_total{{resource=\"secrets\",status=\"{status}\",transformation_type=\"{direction}\",transformer_prefix=\"{prefix}\"}}"
        );
        metrics.contains(&line)
    };
    assert!(
        counted("Unknown", "unknown", "from_storage") && counted("OK", "k8s:enc:aesgcm:v1:", "to_storage"),
        "{metrics}"
    );
    let unreadable = server.handle.registry().unreadable();
    expect![[r#"[("/registry/core/secrets/default/s", "no matching prefix found")]"#]]
        .assert_eq(&format!("{unreadable:?}"));
}

/// A configuration that is loaded again makes objects readable, and what was readable stays when it is not any more.
#[tokio::test]
async fn a_configuration_is_loaded_while_the_server_runs() {
    let inner = Arc::new(MemoryStore::new());
    {
        let server = server(&inner, &[ONE]).await;
        server.ask(&format!("POST {SECRETS}"), r#"{"metadata":{"name":"s"}}"#).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encryption.yaml");
    write(&path, &[TWO]);
    let encryption = EncryptionAtRest::read(&path).unwrap();
    let server =
        Server::start_on(encryption.wrap(inner.clone()), None, AdmissionConfiguration::default()).await;
    assert!(server.ask(&format!("GET {SECRETS}/s"), "").await.starts_with("500"));
    write(&path, &[TWO, ONE]);
    encryption.reload().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !server.ask(&format!("GET {SECRETS}/s"), "").await.starts_with("200") {
        assert!(std::time::Instant::now() < deadline, "the Secret is readable after the reload");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(server.handle.registry().unreadable().is_empty());
}
