//! Tests of encryption at rest.

use std::io::Write;

use super::*;

const SECRET: &str = "/registry/core/secrets/a/b";
const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TWO: &str = "YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk=";

fn file(providers: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write(&mut file, providers);
    file
}

fn write(file: &mut tempfile::NamedTempFile, providers: &str) {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers: [{providers}]\n"
    );
    file.as_file().set_len(0).unwrap();
    std::fs::write(file.path(), text).unwrap();
    file.flush().unwrap();
}

fn keys(cipher: &str, keys: &[(&str, &str)]) -> String {
    let keys: Vec<String> =
        keys.iter().map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}")).collect();
    format!("{{{cipher}: {{keys: [{}]}}}}", keys.join(", "))
}

fn encryption(providers: &[String]) -> Arc<EncryptionAtRest> {
    EncryptionAtRest::read(file(&providers.join(", ")).path()).unwrap()
}

#[test]
fn values_look_as_upstreams() {
    for cipher in ["aescbc", "aesgcm", "secretbox"] {
        let encryption = encryption(&[keys(cipher, &[("key1", ONE), ("key2", TWO)])]);
        let kept = encryption.encode(SECRET, "value".into()).unwrap();
        assert!(kept.starts_with(format!("k8s:enc:{cipher}:v1:key1:").as_bytes()));
        assert_eq!(encryption.decode(SECRET, kept.clone()).unwrap(), "value");
        assert!(!encryption.is_stale(SECRET, &kept));
        for other in ["/registry/core/configmaps/a/b", "/kernel/registry/x", "/registry/apps/secrets/a/b"] {
            assert_eq!(encryption.encode(other, "value".into()).unwrap(), "value");
        }
    }
}

#[test]
fn any_provider_and_key_reads_and_the_first_one_writes() {
    let identity = "{identity: {}}".to_owned();
    let old = encryption(&[keys("aescbc", &[("key1", ONE)])]);
    let kept = old.encode(SECRET, "value".into()).unwrap();
    let table = [
        (vec![keys("aescbc", &[("key1", ONE)])], Ok(false)),
        (vec![keys("aescbc", &[("key2", TWO), ("key1", ONE)])], Ok(true)),
        (vec![keys("secretbox", &[("key1", ONE)]), keys("aescbc", &[("key1", ONE)])], Ok(true)),
        (vec![identity.clone(), keys("aescbc", &[("key1", ONE)])], Ok(true)),
        (vec![identity.clone()], Err("no matching prefix found")),
        (
            vec![keys("aescbc", &[("key2", TWO)])],
            Err("no matching key was found for the provided AES transformer"),
        ),
        (vec![keys("aesgcm", &[("key1", ONE)])], Err("no matching prefix found")),
    ];
    for (providers, expected) in table {
        let encryption = encryption(&providers);
        let read = encryption.decode(SECRET, kept.clone()).map(|value| {
            assert_eq!(value, "value");
            encryption.is_stale(SECRET, &kept)
        });
        assert_eq!(
            read.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|text| *text),
            "{providers:?}"
        );
    }
    // With a wrong key of the same name.
    let gcm = encryption(&[keys("aesgcm", &[("key1", ONE)])]).encode(SECRET, "value".into()).unwrap();
    let wrong = encryption(&[keys("aesgcm", &[("key1", TWO)])]);
    assert_eq!(wrong.decode(SECRET, gcm.clone()).unwrap_err(), "cipher: message authentication failed");
    // A value that was moved to another key.
    let right = encryption(&[keys("aesgcm", &[("key1", ONE)])]);
    assert!(right.decode("/registry/core/secrets/a/c", gcm.clone()).is_err());
    // Plain values are stale if something else writes, and unreadable if nothing reads them.
    let plain = Bytes::from_static(b"{}");
    assert!(encryption(&[keys("aescbc", &[("key1", ONE)]), identity]).is_stale(SECRET, &plain));
    assert_eq!(right.decode(SECRET, plain).unwrap_err(), "no matching prefix found");
    let unconfigured = right.decode("/registry/core/configmaps/a/b", gcm).unwrap_err();
    assert_eq!(unconfigured, "identity transformer tried to read encrypted data");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_read_again() {
    let mut file = file(&keys("aescbc", &[("key1", ONE)]));
    let encryption = EncryptionAtRest::read(file.path()).unwrap();
    let mut generations = encryption.generations();
    let following = tokio::spawn(encryption.clone().follow());
    write(&mut file, "{rot13: {}}");
    tokio::time::sleep(RELOAD_PERIOD * 2).await;
    assert!(!generations.has_changed().unwrap());
    write(&mut file, &keys("aescbc", &[("key2", TWO), ("key1", ONE)]));
    generations.changed().await.unwrap();
    let kept = encryption.encode(SECRET, "value".into()).unwrap();
    assert!(kept.starts_with(b"k8s:enc:aescbc:v1:key2:"));
    following.abort();
}

#[test]
fn files_that_are_not_valid_are_refused() {
    let refused = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = EncryptionAtRest::read(file.path()).map(drop).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    assert_eq!(refused(""), "the file is empty");
    assert_eq!(
        refused("a: b"),
        "expected EncryptionConfiguration of apiserver.config.k8s.io/v1, found nothing of nothing"
    );
    assert_eq!(refused("["), "invalid YAML in line 2");
    // Nothing of the file is quoted.
    assert_eq!(refused("a: !!int TOPSECRET"), "invalid YAML");
    assert_eq!(refused("a:\n- ? [TOPSECRET]\n  : b"), "invalid YAML");
}
