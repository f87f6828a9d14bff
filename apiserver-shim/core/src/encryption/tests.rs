//! Tests of encryption configurations.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

const KEY_32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn decode(resources: Value) -> Result<EncryptionConfiguration, EncryptionConfigurationError> {
    EncryptionConfiguration::decode(&json!({"apiVersion": API_VERSION, "kind": KIND, "resources": resources}))
}

fn refused(resources: Value, expected: Expect) {
    expected.assert_eq(&decode(resources).unwrap_err().to_string().replace(", resources", ",\nresources"));
}

fn entry(resources: &[&str], providers: Value) -> Value {
    json!({"resources": resources, "providers": providers})
}

fn identity() -> Value {
    json!([{"identity": {}}])
}

fn keys(cipher: &str, name: &str) -> Value {
    json!({cipher: {"keys": [{"name": name, "secret": KEY_32}]}})
}

#[test]
fn the_most_specific_entry_applies() {
    let configuration = decode(json!([
        entry(&["events"], identity()),
        entry(&["secrets", "pandas.bears.example"], json!([keys("aescbc", "a"), {"identity": {}}])),
        entry(&["secrets"], json!([keys("aesgcm", "b")])),
        entry(&["*.apps"], json!([keys("secretbox", "c")])),
        entry(&["*.*"], json!([keys("aesgcm", "d")])),
    ]))
    .unwrap();
    let shown = |group: &str, resource: &str| {
        let name = |provider: &&Provider| match provider {
            Provider::Identity => "identity".to_owned(),
            Provider::Keys(cipher, keys) => format!("{}{keys:?}", cipher.prefix()),
        };
        let providers = configuration.providers(group, resource);
        format!("{resource}.{group} {}\n", providers.iter().map(name).collect::<Vec<_>>().join(" "))
    };
    let table = [
        ("", "events"),
        ("", "secrets"),
        ("bears.example", "pandas"),
        ("apps", "deployments"),
        ("", "pods"),
        ("a", "b"),
    ];
    expect![[r#"
        events. identity
        secrets. k8s:enc:aescbc:v1:[a: [REDACTED]] identity k8s:enc:aesgcm:v1:[b: [REDACTED]]
        pandas.bears.example k8s:enc:aescbc:v1:[a: [REDACTED]] identity
        deployments.apps k8s:enc:secretbox:v1:[c: [REDACTED]]
        pods. k8s:enc:aesgcm:v1:[d: [REDACTED]]
        b.a k8s:enc:aesgcm:v1:[d: [REDACTED]]
    "#]]
    .assert_eq(&table.iter().map(|(group, resource)| shown(group, resource)).collect::<String>());
    let core = decode(json!([entry(&["*."], identity())])).unwrap();
    assert_eq!((core.providers("", "pods").len(), core.providers("apps", "pods").len()), (1, 0));
}

#[test]
fn wrong_entries_are_refused() {
    refused(json!([]), expect!["resources: Required value: at least one resources is required"]);
    refused(
        json!([{}]),
        expect![[r#"
        [resources[0].resources: Required value: at least one resources[0].resources is required,
        resources[0].providers: Required value: at least one resources[0].providers is required]"#]],
    );
    let names = ["Secrets", "*", "serviceipallocations", "events.events.k8s.io", "jobs.extensions", "pods.*"];
    refused(
        json!([entry(&names, identity())]),
        expect![[r#"
        [resources[0].resources: Invalid value: []string{"Secrets", "*", "serviceipallocations", "events.events.k8s.io", "jobs.extensions", "pods.*"}: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked,
        resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters,
        resources[0].resources[1]: Invalid value: "*": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources,
        resources[0].resources[2]: Invalid value: "serviceipallocations": resources which do not have REST API/s cannot be encrypted,
        resources[0].resources[3]: Invalid value: "events.events.k8s.io": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file,
        resources[0].resources[4]: Invalid value: "jobs.extensions": 'extensions' group has been removed and cannot be used for encryption,
        resources[0].resources[5]: Invalid value: "pods.*": encrypting the same resource across groups is not supported]"#]],
    );
    refused(
        json!([entry(&["secrets", "secrets"], identity())]),
        expect![[
            r#"resources[0].resources: Invalid value: []string{"secrets", "secrets"}: the same resource cannot be specified multiple times"#
        ]],
    );
    refused(
        json!([entry(&["secrets", "*."], identity())]),
        expect![[
            r#"resources[0].resources: Invalid value: []string{"secrets", "*."}: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"#
        ]],
    );
    refused(
        json!([entry(&["*.*", "jobs.batch"], identity())]),
        expect![[
            r#"resources[0].resources: Invalid value: []string{"*.*", "jobs.batch"}: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"#
        ]],
    );
    refused(
        json!([entry(&["*."], identity()), entry(&["secrets"], identity())]),
        expect![[r#"resource "secrets" is masked by earlier rule "*.""#]],
    );
    refused(
        json!([entry(&["*.*"], identity()), entry(&["*.apps"], identity())]),
        expect![[r#"resource "*.apps" is masked by earlier rule "*.*""#]],
    );
}

#[test]
fn wrong_providers_are_refused() {
    let both = json!({"identity": {}, "aesgcm": {"keys": [{"name": "a", "secret": KEY_32}]}});
    let kms = json!({"kms": {"apiVersion": "v2", "name": "n", "endpoint": "unix:///s"}});
    refused(
        json!([entry(&["a"], json!([{}, both, kms]))]),
        expect![[r#"
        [resources[0].providers[0]: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity,
        resources[0].providers[1]: Invalid value: more than one provider specified in a single element, should split into different list elements,
        resources[0].providers[2].kms: Forbidden: this server has no KMS provider; use aesgcm, aescbc or secretbox]"#]],
    );
    let list = json!([{}, {"name": "b"}, {"name": "c", "secret": "?"}, {"name": "d", "secret": "c2hvcnQ="}]);
    let providers = json!([{"aescbc": {"keys": list}}, {"secretbox": {"keys": [{"name": "s", "secret": "MDEyMzQ1Njc4OWFiY2RlZg=="}]}}, {"aesgcm": {}}]);
    refused(
        json!([entry(&["a"], providers)]),
        expect![[r#"
        [resources[0].providers[0].aescbc.keys[0].name: Required value: name is a mandatory field for a key,
        resources[0].providers[0].aescbc.keys[0].secret: Required value: secret is a mandatory field for a key,
        resources[0].providers[0].aescbc.keys[1].secret: Required value: secret is a mandatory field for a key,
        resources[0].providers[0].aescbc.keys[2].secret: Invalid value: "REDACTED": secrets must be base64 encoded,
        resources[0].providers[0].aescbc.keys[3].secret: Invalid value: "REDACTED": secret is not of the expected length, got 5, expected one of [16 24 32],
        resources[0].providers[1].secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 16, expected one of [32],
        resources[0].providers[2].aesgcm.keys: Required value: at least one keys is required]"#]],
    );
    let other = EncryptionConfiguration::decode(&json!({"kind": "EncryptionConfig", "apiVersion": "v1"}));
    expect!["expected EncryptionConfiguration of apiserver.config.k8s.io/v1, found EncryptionConfig of v1"]
        .assert_eq(&other.unwrap_err().to_string());
}

#[test]
fn members_of_another_kind_are_refused_without_their_values() {
    let unknown = expect![[r#"unknown field "resources[0].providers[0].rot13""#]];
    refused(json!([entry(&["a"], json!([{"rot13": "TOPSECRET"}]))]), unknown);
    let cases = [
        (json!("TOPSECRET"), "aescbc: expected an object, found a string"),
        (json!(["TOPSECRET"]), "aescbc: expected an object, found a list"),
        (json!({"keys": "TOPSECRET"}), "aescbc.keys: expected a list, found a string"),
        (json!({"keys": ["TOPSECRET"]}), "aescbc.keys[0]: expected an object, found a string"),
        (json!({"keys": [null]}), "aescbc.keys[0]: expected an object, found null"),
        (json!({"keys": [{}, {"secret": 4711}]}), "aescbc.keys[1].secret: expected a string, found a number"),
        (json!({"keys": [{"name": null}]}), "aescbc.keys[0].name: expected a string, found null"),
        (
            json!({"keys": [{"secret": {"TOPSECRET": 1}}]}),
            "aescbc.keys[0].secret: expected a string, found an object",
        ),
    ];
    for (provider, wanted) in cases {
        let error = decode(json!([entry(&["a"], json!([{"aescbc": provider}]))])).unwrap_err();
        assert_eq!(error.to_string(), format!("resources[0].providers[0].{wanted}"));
    }
    refused(json!(true), expect!["resources: expected a list, found a boolean"]);
    refused(
        json!([{"resources": null, "providers": null}]),
        expect![[r#"
        [resources[0].resources: Required value: at least one resources[0].resources is required,
        resources[0].providers: Required value: at least one resources[0].providers is required]"#]],
    );
}
