//! Tests of server-side apply: one table per rule.

use super::*;
use crate::managed_fields::{OneVersion, ResetFields, keep_times, record_update};
use crate::schema::testing::object_type;
use crate::time::Instant;
use expect_test::{Expect, expect};
use serde_json::json;
use std::sync::LazyLock;

static TYPES: LazyLock<[ObjectType; 4]> = LazyLock::new(|| {
    [
        object_type("", "v1", "ConfigMap"),
        object_type("", "v1", "Pod"),
        object_type("", "v1", "Service"),
        object_type("apps", "v1", "Deployment"),
    ]
});

fn ty(kind: &str) -> &'static ObjectType {
    TYPES.iter().find(|ty| ty.kind().kind == kind).expect("the kind is in the table")
}

mod properties;

/// An object and the writes to it.
struct Scene {
    ty: &'static ObjectType,
    object: Option<Value>,
    subresource: &'static str,
    now: i64,
}

impl Scene {
    fn of(kind: &str) -> Scene {
        Scene { ty: ty(kind), object: None, subresource: "", now: 0 }
    }

    fn writer<'a>(&mut self, manager: &'a str) -> Writer<'a> {
        self.now += 1;
        let exclude: &[&[&str]] = if self.subresource == "status" { &[&["spec"]] } else { &[&["status"]] };
        Writer {
            manager,
            ty: self.ty,
            subresource: self.subresource,
            now: Instant::from_seconds(self.now),
            reset: ResetFields { exclude },
            versions: &OneVersion,
        }
    }

    fn config(&self, more: Value) -> Value {
        let mut config = json!({"apiVersion": self.ty.kind().api_version(), "kind": self.ty.kind().kind,
            "metadata": {"name": "x"}});
        let members = more.as_object().cloned().unwrap_or_default();
        config.as_object_mut().expect("it is an object").extend(members);
        config
    }

    fn try_apply(&mut self, manager: &str, more: Value, force: bool) -> Result<(), Status> {
        let config = self.config(more);
        let options = ApplyOptions { writer: self.writer(manager), force };
        let mut new = apply(self.object.as_ref(), &config, options)?;
        if let Some(old) = &self.object {
            keep_times(old, &mut new);
        }
        self.object = Some(new);
        Ok(())
    }

    fn apply(mut self, manager: &str, more: Value) -> Scene {
        self.try_apply(manager, more, false).expect("nothing is in the way");
        self
    }

    fn force(mut self, manager: &str, more: Value) -> Scene {
        self.try_apply(manager, more, true).expect("force resolves conflicts");
        self
    }

    fn update(mut self, manager: &str, change: impl Fn(&mut Value)) -> Scene {
        let old = self.object.clone();
        let mut new = old.clone().unwrap_or_else(|| self.config(json!({})));
        change(&mut new);
        schema::check(self.ty, &mut new);
        let writer = self.writer(manager);
        record_update(old.as_ref(), &mut new, writer);
        self.object = Some(new);
        self
    }

    fn on(mut self, subresource: &'static str) -> Scene {
        self.subresource = subresource;
        self
    }

    fn show(&self) -> String {
        let mut object = self.object.clone().unwrap_or_default();
        let entries = access::remove(&mut object, &MANAGED_FIELDS).unwrap_or_default();
        for member in ["apiVersion", "kind"] {
            access::remove(&mut object, &[member]);
        }
        access::remove(&mut object, &["metadata", "name"]);
        let mut lines = vec![object.to_string()];
        for entry in entries.as_array().into_iter().flatten() {
            let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            let time = text("time").replace("1970-01-01T00:00:0", "");
            lines.push(format!("{} {} {} {}", text("manager"), text("operation"), time, entry["fieldsV1"]));
        }
        lines.join("\n")
    }

    fn check(self, expect: Expect) -> Scene {
        expect.assert_eq(&self.show());
        self
    }

    fn refused(mut self, manager: &str, more: Value, expect: Expect) -> Scene {
        let status = self.try_apply(manager, more, false).expect_err("it is refused");
        let causes: Vec<String> = status
            .details
            .iter()
            .flat_map(|d| &d.causes)
            .map(|c| format!("\n  {}: {}", c.field, c.message))
            .collect();
        expect.assert_eq(&format!("{} {}{}", status.code, status.message, causes.concat()));
        self
    }
}

fn data(value: Value) -> Value {
    json!({ "data": value })
}

#[test]
fn a_field_belongs_to_those_who_apply_it() {
    Scene::of("ConfigMap")
        .apply("m1", data(json!({"a": "1"})))
        .check(expect![[r#"
            {"data":{"a":"1"},"metadata":{}}
            m1 Apply 1Z {"f:data":{"f:a":{}}}"#]])
        .apply("m2", data(json!({"a": "1", "b": "2"})))
        .check(expect![[r#"
            {"data":{"a":"1","b":"2"},"metadata":{}}
            m1 Apply 1Z {"f:data":{"f:a":{}}}
            m2 Apply 2Z {"f:data":{"f:a":{},"f:b":{}}}"#]])
        // The value is shared: it stays until the last owner drops it.
        .apply("m1", data(json!({})))
        .check(expect![[r#"
            {"data":{"a":"1","b":"2"},"metadata":{}}
            m1 Apply 1Z {"f:data":{}}
            m2 Apply 2Z {"f:data":{"f:a":{},"f:b":{}}}"#]])
        .apply("m2", data(json!({"z": "1"})))
        .check(expect![[r#"
            {"data":{"z":"1"},"metadata":{}}
            m1 Apply 1Z {"f:data":{}}
            m2 Apply 4Z {"f:data":{"f:z":{}}}"#]]);
}

#[test]
fn another_value_is_a_conflict_unless_forced() {
    Scene::of("ConfigMap")
        .update("upd", |o| o["data"] = json!({"a": "1", "b": "1"}))
        .apply("m1", data(json!({"a": "1"})))
        .refused(
            "m2",
            data(json!({"a": "2", "b": "2"})),
            expect![[r#"
                409 Apply failed with 3 conflicts: conflicts with "m1":
                - .data.a
                conflicts with "upd" using v1:
                - .data.a
                - .data.b
                  .data.a: conflict with "m1"
                  .data.a: conflict with "upd" using v1
                  .data.b: conflict with "upd" using v1"#]],
        )
        .refused(
            "m2",
            data(json!({"b": "2"})),
            expect![[r#"
            409 Apply failed with 1 conflict: conflict with "upd" using v1: .data.b
              .data.b: conflict with "upd" using v1"#]],
        )
        .force("m2", data(json!({"a": "2"})))
        .check(expect![[r#"
            {"data":{"a":"2","b":"1"},"metadata":{}}
            m2 Apply 5Z {"f:data":{"f:a":{}}}
            upd Update 1Z {"f:data":{".":{},"f:b":{}}}"#]]);
}

#[test]
fn lists_of_objects_are_merged_by_their_keys() {
    let port = |value: Value| json!({"spec": {"ports": value}});
    Scene::of("Service")
        .apply("m1", port(json!([{"port": 80, "name": "web"}, {"port": 53, "protocol": "UDP", "name": "dns"}])))
        .check(expect![[r#"
            {"metadata":{},"spec":{"ports":[{"name":"web","port":80},{"name":"dns","port":53,"protocol":"UDP"}]},"status":{"loadBalancer":{}}}
            m1 Apply 1Z {"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"UDP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{}},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}"#]])
        .apply("m2", port(json!([{"port": 443, "name": "tls"}, {"port": 80, "targetPort": 8080}])))
        .check(expect![[r#"
            {"metadata":{},"spec":{"ports":[{"name":"tls","port":443},{"name":"web","port":80,"targetPort":8080},{"name":"dns","port":53,"protocol":"UDP"}]},"status":{"loadBalancer":{}}}
            m1 Apply 1Z {"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"UDP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{}},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}
            m2 Apply 2Z {"f:spec":{"f:ports":{"k:{\"port\":443,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:targetPort":{}}}}}"#]])
        // An element that others own, too, loses only what the manager set.
        .apply("m2", port(json!([{"port": 443, "name": "tls"}])))
        .check(expect![[r#"
            {"metadata":{},"spec":{"ports":[{"name":"tls","port":443},{"name":"web","port":80},{"name":"dns","port":53,"protocol":"UDP"}]},"status":{"loadBalancer":{}}}
            m1 Apply 1Z {"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"UDP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{}},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}
            m2 Apply 3Z {"f:spec":{"f:ports":{"k:{\"port\":443,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}"#]])
        .apply("m1", json!({}))
        .check(expect![[r#"
            {"metadata":{},"spec":{"ports":[{"name":"tls","port":443}]},"status":{"loadBalancer":{}}}
            m2 Apply 3Z {"f:spec":{"f:ports":{"k:{\"port\":443,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}"#]]);
}

#[test]
fn atomic_values_belong_to_one_manager() {
    let spec = |value: Value| json!({ "spec": value });
    let container = json!([{"name": "c", "image": "i", "args": ["a"]}]);
    Scene::of("Pod")
        .apply("m1", spec(json!({"containers": container, "nodeSelector": {"a": "1"}})))
        .refused("m2", spec(json!({"nodeSelector": {"b": "2"}})), expect![[r#"
            409 Apply failed with 1 conflict: conflict with "m1": .spec.nodeSelector
              .spec.nodeSelector: conflict with "m1""#]])
        .refused("m2", spec(json!({"containers": [{"name": "c", "args": ["b"]}]})), expect![[r#"
            409 Apply failed with 1 conflict: conflict with "m1": .spec.containers[name="c"].args
              .spec.containers[name="c"].args: conflict with "m1""#]])
        .force("m2", spec(json!({"nodeSelector": {"b": "2"}})))
        .check(expect![[r#"
            {"metadata":{},"spec":{"containers":[{"args":["a"],"image":"i","name":"c","resources":{}}],"nodeSelector":{"b":"2"}},"status":{}}
            m1 Apply 1Z {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:args":{},"f:image":{},"f:name":{}}}}}
            m2 Apply 4Z {"f:spec":{"f:nodeSelector":{}}}"#]]);
}

#[test]
fn sets_are_owned_element_by_element() {
    let finalizers = |value: Value| json!({"metadata": {"name": "x", "finalizers": value}});
    Scene::of("ConfigMap")
        .apply("m1", finalizers(json!(["x.io/a"])))
        .apply("m2", finalizers(json!(["x.io/b", "x.io/a"])))
        .check(expect![[r#"
            {"metadata":{"finalizers":["x.io/b","x.io/a"]}}
            m1 Apply 1Z {"f:metadata":{"f:finalizers":{"v:\"x.io/a\"":{}}}}
            m2 Apply 2Z {"f:metadata":{"f:finalizers":{"v:\"x.io/a\"":{},"v:\"x.io/b\"":{}}}}"#]])
        .apply("m2", json!({}))
        .check(expect![[r#"
            {"metadata":{"finalizers":["x.io/a"]}}
            m1 Apply 1Z {"f:metadata":{"f:finalizers":{"v:\"x.io/a\"":{}}}}"#]])
        .refused("m1", finalizers(json!(["x.io/a", "x.io/a"])), expect![[r#"500 failed to create typed patch object (/x; /v1, Kind=ConfigMap): .metadata.finalizers: duplicate entries for key [="x.io/a"]"#]]);
}

#[test]
fn duplicates_in_the_object_are_replaced_together() {
    let env = |value: Value| json!({"spec": {"containers": [{"name": "c", "env": value}]}});
    Scene::of("Pod")
        .update("u", |o| {
            o["spec"] = json!({"containers": [{"name": "c", "image": "i",
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "B", "value": "3"}]}]});
        })
        .check(expect![[r#"
            {"metadata":{},"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"A","value":"2"},{"name":"B","value":"3"}],"image":"i","name":"c","resources":{}}]},"status":{}}
            u Update 1Z {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"A\"}":{},"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:resources":{}}}}}"#]])
        .apply("m1", env(json!([{"name": "B", "value": "3"}])))
        .force("m2", env(json!([{"name": "A", "value": "9"}])))
        .check(expect![[r#"
            {"metadata":{},"spec":{"containers":[{"env":[{"name":"A","value":"9"},{"name":"B","value":"3"}],"image":"i","name":"c","resources":{}}]},"status":{}}
            m1 Apply - {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}},"f:name":{}}}}}
            m2 Apply 3Z {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}},"f:name":{}}}}}
            u Update 1Z {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:resources":{}}}}}"#]]);
}

#[test]
fn an_updater_keeps_what_an_applier_drops() {
    Scene::of("ConfigMap")
        .apply("m1", data(json!({"a": "1", "b": "1"})))
        .update("u", |o| o["data"]["a"] = "2".into())
        .check(expect![[r#"
            {"data":{"a":"2","b":"1"},"metadata":{}}
            m1 Apply 1Z {"f:data":{"f:b":{}}}
            u Update 2Z {"f:data":{"f:a":{}}}"#]])
        .apply("m1", data(json!({})))
        .check(expect![[r#"
            {"data":{"a":"2"},"metadata":{}}
            m1 Apply 3Z {"f:data":{}}
            u Update 2Z {"f:data":{"f:a":{}}}"#]]);
}

#[test]
fn fields_from_before_the_first_apply_have_an_owner() {
    Scene::of("ConfigMap")
        .update("u", |o| o["data"] = json!({"a": "1"}))
        .update("u", |o| o["metadata"]["managedFields"] = json!([{}]))
        .check(expect![[r#"{"data":{"a":"1"},"metadata":{}}"#]])
        .refused(
            "m1",
            data(json!({"a": "2"})),
            expect![[r#"
            409 Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a
              .data.a: conflict with "before-first-apply" using v1"#]],
        )
        .apply("m1", data(json!({"b": "2"})))
        .check(expect![[r#"
            {"data":{"a":"1","b":"2"},"metadata":{}}
            m1 Apply 4Z {"f:data":{"f:b":{}}}
            before-first-apply Update 4Z {"f:data":{".":{},"f:a":{}}}"#]]);
}

#[test]
fn subresources_have_their_own_entries() {
    Scene::of("Pod")
        .apply("m1", json!({"spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"message": "m"}}))
        .on("status")
        .apply("m1", json!({"spec": {"nodeName": "n"}, "status": {"reason": "r"}}))
        .check(expect![[r#"
            {"metadata":{},"spec":{"containers":[{"image":"i","name":"c","resources":{}}],"nodeName":"n"},"status":{"message":"m","reason":"r"}}
            m1 Apply 1Z {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}
            m1 Apply 2Z {"f:status":{"f:reason":{}}}"#]])
        .refused("m2", json!({"status": {"reason": "x"}}), expect![[r#"
            409 Apply failed with 1 conflict: conflict with "m1" with subresource "status": .status.reason
              .status.reason: conflict with "m1" with subresource "status""#]]);
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let applied = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{},"name":"x"},"data":{"a":"1","b":"1"}}"#;
    let by_client = |o: &mut Value| {
        o["data"] = json!({"a": "1", "b": "1"});
        o["metadata"]["annotations"] = json!({ LAST_APPLIED: applied });
    };
    Scene::of("ConfigMap")
        .update("kubectl-client-side-apply", by_client)
        .refused("other", data(json!({"a": "2"})), expect![[r#"
            409 Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a
              .data.a: conflict with "kubectl-client-side-apply" using v1"#]])
        .apply("kubectl", data(json!({"a": "2"})))
        .check(expect![[r#"
            {"data":{"a":"2","b":"1"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"}}\n"}}}
            kubectl Apply 3Z {"f:data":{"f:a":{}}}
            kubectl-client-side-apply Update 1Z {"f:data":{".":{},"f:b":{}},"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}}}"#]]);
}

#[test]
fn malformed_configurations_are_refused() {
    let scene = || Scene::of("Pod");
    let spec = |value: Value| json!({ "spec": value });
    let cases = [
        json!({"kind": "Secret"}),
        json!({"apiVersion": "a/b/c"}),
        json!({"apiVersion": 7}),
        json!({"metadata": {"name": "x", "managedFields": []}}),
        spec(json!({"nonsense": 1})),
        spec(json!({"containers": {"name": "c"}})),
        spec(
            json!({"containers": ["c", {"image": "i"}, {"name": "c", "ports": [{"name": "p"}, {"containerPort": 0}]}]}),
        ),
        spec(json!({"tolerations": "x", "hostNetwork": "yes", "priority": "high", "nodeName": {"a": ["b"]}})),
        spec(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": []}}}]})),
        spec(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1x"}}}]})),
        spec(json!({"terminationGracePeriodSeconds": 1.5})),
    ];
    let refusal = |case: &Value| scene().try_apply("m", case.clone(), false).expect_err("it is refused");
    let lines: Vec<String> = cases.iter().map(refusal).map(|s| format!("{} {}", s.code, s.message)).collect();
    expect![[r#"
        400 invalid object type: /v1, Kind=Secret
        400 invalid object type: /, Kind=
        400 invalid object type: /, Kind=Pod
        400 metadata.managedFields must be nil
        500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.nonsense: field not declared in schema
        500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: expected list, got &{map[name:c]}
        500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: element 0: associative list with keys may not have non-map elements
        500 failed to create typed patch object (/x; /v1, Kind=Pod): errors:
          .spec.hostNetwork: expected boolean, got &{yes}
          .spec.nodeName: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"a":[]interface {}{"b"}}}
          .spec.priority: expected numeric (int or float), got string
          .spec.tolerations: expected list, got &{x}
        500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers[name="c"].resources.limits.cpu: expected any scalar, got &{[]}
        500 failed to convert new object (/x; /v1, Kind=Pod) to proper version: unable to convert unstructured object to /v1, Kind=Pod: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
        500 failed to convert new object (/x; /v1, Kind=Pod) to proper version: unable to convert unstructured object to /v1, Kind=Pod: cannot convert float64 to int64"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn a_null_unsets_and_is_owned() {
    Scene::of("ConfigMap")
        .apply("m1", data(json!({"a": null, "b": "1"})))
        .check(expect![[r#"
            {"data":{"a":"","b":"1"},"metadata":{}}
            m1 Apply 1Z {"f:data":{"f:a":{},"f:b":{}}}"#]])
        .apply("m1", json!({"data": null}))
        .check(expect![[r#"
            {"metadata":{}}
            m1 Apply 2Z {"f:data":{}}"#]]);
}
