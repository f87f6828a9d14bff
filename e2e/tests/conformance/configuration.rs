//! ConfigMaps and Secrets.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Patch, path, version},
};

pub const TESTS: &[Test] = &[
    ("config_map_with_an_empty_key_is_refused", config_map_with_an_empty_key_is_refused),
    ("config_map_lifecycle", config_map_lifecycle),
    ("config_map_is_updated", config_map_is_updated),
    ("secret_with_an_empty_key_is_refused", secret_with_an_empty_key_is_refused),
    ("secret_is_patched", secret_is_patched),
    ("immutable_config_map_stays", immutable_config_map_stays),
    ("immutable_secret_stays", immutable_secret_stays),
];

fn config_map_with_an_empty_key_is_refused(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("config-map")?;
    let object = json!({"metadata": {"name": "empty"}, "data": {"": "value"}});
    let answer = api.create(&namespace.path("v1", "configmaps"), &object)?;
    answer.refused(422, &["ConfigMap \"empty\" is invalid", "data[]"]).map(drop)
}

fn secret_with_an_empty_key_is_refused(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("secret")?;
    let object = json!({"metadata": {"name": "empty"}, "data": {"": "dmFsdWU="}});
    let answer = api.create(&namespace.path("v1", "secrets"), &object)?;
    answer.refused(422, &["Secret \"empty\" is invalid", "data[]"]).map(drop)
}

fn config_map_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("config-map")?;
    let maps = namespace.path("v1", "configmaps");
    let watch = api.watch(&format!("{maps}?labelSelector=lifecycle%3Dstatic"))?;
    let object =
        json!({"metadata": {"name": "one", "labels": {"lifecycle": "static"}}, "data": {"key": "first"}});
    api.create(&maps, &object)?.with(201)?;
    watch.expect("ADDED")?;
    let patch = json!({"metadata": {"labels": {"patched": "true"}}, "data": {"key": "second"}});
    api.patch(&format!("{maps}/one"), Patch::Strategic, &patch)?.ok()?;
    let seen = watch.expect("MODIFIED")?;
    ensure!(seen["data"]["key"] == "second", "{seen}");
    let read = api.get(&format!("{maps}/one"))?.ok()?;
    ensure!(read["data"]["key"] == "second" && read["metadata"]["labels"]["patched"] == "true", "{read}");
    let everywhere = format!("{}?labelSelector=lifecycle%3Dstatic", path("v1", "", "configmaps"));
    let all = api.list(&everywhere)?;
    let ours = all.iter().filter(|map| map["metadata"]["namespace"] == namespace.name).count();
    ensure!(ours == 1, "{all:?}");
    api.delete(&format!("{maps}?labelSelector=lifecycle%3Dstatic"))?.ok()?;
    watch.expect("DELETED")?;
    let rest = api.list(&format!("{maps}?labelSelector=lifecycle%3Dstatic"))?;
    ensure!(rest.is_empty(), "{rest:?}");
    Ok(())
}

fn config_map_is_updated(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("config-map")?;
    let maps = namespace.path("v1", "configmaps");
    let created =
        api.create(&maps, &json!({"metadata": {"name": "one"}, "data": {"key": "value"}}))?.with(201)?;
    let updated = api.change(&format!("{maps}/one"), |map| map["data"]["added"] = json!("later"))?;
    ensure!(version(&updated) != version(&created), "{updated}");
    let read = api.get(&format!("{maps}/one"))?.ok()?;
    ensure!(read["data"] == json!({"key": "value", "added": "later"}), "{read}");
    Ok(())
}

fn secret_is_patched(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("secret")?;
    let secrets = namespace.path("v1", "secrets");
    let object =
        json!({"metadata": {"name": "one", "labels": {"patching": "before"}}, "data": {"key": "dmFsdWU="}});
    api.create(&secrets, &object)?.with(201)?;
    let all = api.list(&format!("{}?labelSelector=patching%3Dbefore", path("v1", "", "secrets")))?;
    ensure!(all.iter().any(|secret| secret["metadata"]["namespace"] == namespace.name), "{all:?}");
    let patch = json!({"metadata": {"labels": {"patching": "after"}}, "data": {"key": "c2Vjb25k"}});
    api.patch(&format!("{secrets}/one"), Patch::Strategic, &patch)?.ok()?;
    let read = api.get(&format!("{secrets}/one"))?.ok()?;
    ensure!(read["data"]["key"] == "c2Vjb25k" && read["metadata"]["labels"]["patching"] == "after", "{read}");
    api.delete(&format!("{secrets}?labelSelector=patching%3Dafter"))?.ok()?;
    let rest = api.list(&format!("{secrets}?labelSelector=patching%3Dafter"))?;
    ensure!(rest.is_empty(), "{rest:?}");
    Ok(())
}

fn immutable_config_map_stays(api: &Api) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "fixed"}, "data": {"key": "value"}});
    stays_when_immutable(api, "configmaps", &object, &json!("other"))
}

fn immutable_secret_stays(api: &Api) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "fixed"}, "data": {"key": "dmFsdWU="}});
    stays_when_immutable(api, "secrets", &object, &json!("b3RoZXI="))
}

fn stays_when_immutable(api: &Api, plural: &str, object: &Value, other: &Value) -> anyhow::Result<()> {
    let namespace = api.namespace("immutable")?;
    let collection = namespace.path("v1", plural);
    let one = format!("{collection}/fixed");
    api.create(&collection, object)?.with(201)?;
    // It can change until it is immutable.
    api.change(&one, |object| object["data"]["key"] = other.clone())?;
    let fixed = api.change(&one, |object| object["immutable"] = json!(true))?;
    let attempt = |change: &dyn Fn(&mut Value)| {
        let mut object = fixed.clone();
        change(&mut object);
        api.update(&one, &object)
    };
    let data = attempt(&|object| object["data"]["key"] = json!("dGhpcmQ="))?;
    data.refused(422, &["field is immutable when `immutable` is set"])?;
    for value in [json!(false), Value::Null] {
        let mutable = attempt(&|object| object["immutable"] = value.clone())?;
        mutable.refused(422, &["field is immutable when `immutable` is set"])?;
    }
    // Metadata is not part of it, and it can be deleted and made anew.
    attempt(&|object| object["metadata"]["labels"] = json!({"still": "changeable"}))?.ok()?;
    api.delete(&one)?.ok()?;
    api.create(&collection, object)?.with(201).map(drop)
}
