//! Policies on objects.

use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::authorization::{AccessRequest, Requested};
use crate::cel::CheckedAccess;

fn policy(spec: Value) -> Policy {
    Policy::compile(&json!({"kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec}))
}

/// Allows the service account `ns/sa` everything, and others to get Pods.
struct OnlyPods;

impl Authorize for OnlyPods {
    fn authorize(&self, account: Option<(&str, &str)>, request: &AccessRequest<'_>) -> CheckedAccess {
        let shown = match request.object {
            Requested::Resource(r) => {
                let fields: Vec<&str> = r.fields.iter().map(|term| term.field.as_str()).collect();
                format!(
                    "{} {}/{} {}/{} {fields:?}",
                    request.verb,
                    r.group,
                    r.qualified(),
                    r.namespace,
                    r.name
                )
            }
            Requested::Path(path) => format!("{} {path}", request.verb),
        };
        let allowed = account == Some(("ns", "sa")) || shown.starts_with("get /pods ");
        CheckedAccess { allowed, reason: shown }
    }
}

fn input<'v>(object: &'v Value, request: &'v Value) -> PolicyInput<'v> {
    static NULL: Value = Value::Null;
    static AUTHORIZER: LazyLock<Arc<dyn Authorize>> = LazyLock::new(|| Arc::new(OnlyPods));
    PolicyInput {
        object,
        old_object: &NULL,
        request,
        namespace: &NULL,
        params: &NULL,
        authorizer: &AUTHORIZER,
    }
}

fn validate(spec: Value, object: &Value) -> Validated {
    let user = json!({"username": "u", "groups": ["g"]});
    let request = request(&RequestFacts {
        kind: ("apps", "v1", "Deployment"),
        resource: ("apps", "v1", "deployments"),
        request_kind: ("apps", "v1", "Deployment"),
        request_resource: ("apps", "v1", "deployments"),
        subresource: "",
        name: "d",
        namespace: "ns",
        operation: "CREATE",
        user: &user,
        dry_run: false,
        options: &json!({}),
    });
    policy(spec).validate(&input(object, &request))
}

#[test]
fn a_validation_denies_with_its_message_and_reason() {
    let object = json!({"spec": {"replicas": 3}});
    let messages = |spec: Value| -> Vec<String> {
        validate(spec, &object).denied.into_iter().map(|d| format!("{}: {}", d.reason, d.message)).collect()
    };
    let one = |validation: Value| messages(json!({"validations": [validation]}));
    assert!(one(json!({"expression": "object.spec.replicas > 1"})).is_empty());
    assert_eq!(
        one(json!({"expression": "object.spec.replicas > 5"})),
        ["Invalid: failed expression: object.spec.replicas > 5"]
    );
    assert_eq!(
        one(json!({"expression": "false", "message": "no ", "reason": "Forbidden"})),
        ["Forbidden: no"]
    );
    assert_eq!(
        one(json!({"expression": "false", "messageExpression": "'have ' + string(object.spec.replicas)"})),
        ["Invalid: have 3"]
    );
    assert_eq!(
        one(json!({"expression": "object.spec.none > 1"})),
        ["Invalid: expression 'object.spec.none > 1' resulted in error: no such key: none"]
    );
    let ignored = json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.spec.none > 1"}]});
    assert!(messages(ignored).is_empty());
}

#[test]
fn variables_conditions_and_annotations_are_evaluated() {
    let object = json!({"spec": {"replicas": 3}});
    let spec = json!({
        "matchConditions": [{"name": "c", "expression": "request.userInfo.username == 'u'"}],
        "variables": [{"name": "r", "expression": "object.spec.replicas"}, {"name": "odd", "expression": "variables.r % 2 == 1"}],
        "validations": [{"expression": "!variables.odd"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'replicas ' + string(variables.r)"}],
    });
    let found = validate(spec.clone(), &object);
    assert_eq!(found.denied.len(), 1);
    assert_eq!(found.annotations, [("k".to_owned(), "replicas 3".to_owned())]);
    let mut other = spec;
    other["matchConditions"][0]["expression"] = "request.userInfo.username == 'x'".into();
    assert_eq!(validate(other, &object), Validated::default());
}

#[test]
fn expressions_that_do_not_compile_are_errors_of_their_fields() {
    let found = policy(json!({
        "variables": [{"name": "v", "expression": "object.a"}],
        "validations": [{"expression": "objectt.a"}, {"expression": "1"}, {"expression": "variables.w"}],
    }));
    let errors: Vec<String> = found.errors().iter().map(|error| error.to_string()).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("spec.validations[0].expression: Invalid value: \"objectt.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'objectt'"));
    assert!(errors[1].ends_with("must evaluate to bool but got int"), "{errors:?}");
    assert!(errors[2].contains("undeclared reference to 'variables'"), "{errors:?}");
}

#[test]
fn rules_match_requests() {
    let request = matching::Requested {
        operation: "CREATE",
        group: "apps",
        version: "v1",
        resource: "deployments",
        subresource: "",
        name: "d",
        namespaced: true,
    };
    let rule = |change: &[(&str, Value)]| {
        let mut rule = json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]});
        change.iter().for_each(|(name, value)| rule[*name] = value.clone());
        rule
    };
    let cases = [
        (json!({"resourceRules": [rule(&[])]}), true),
        (json!({"resourceRules": [rule(&[("operations", json!(["*"]))])]}), true),
        (json!({"resourceRules": [rule(&[("operations", json!(["UPDATE"]))])]}), false),
        (json!({"resourceRules": [rule(&[("resources", json!(["*"]))])]}), true),
        (json!({"resourceRules": [rule(&[("resources", json!(["deployments/*"]))])]}), true),
        (json!({"resourceRules": [rule(&[("resources", json!(["deployments/scale"]))])]}), false),
        (json!({"resourceRules": [rule(&[("scope", json!("Cluster"))])]}), false),
        (json!({"resourceRules": [rule(&[("resourceNames", json!(["x"]))])]}), false),
        (json!({"resourceRules": [rule(&[])], "excludeResourceRules": [rule(&[])]}), false),
        (json!({}), true),
    ];
    for (value, expected) in cases {
        assert_eq!(matching::MatchResources::parse(&value).matches_rules(&request), expected, "{value}");
    }
}

#[test]
fn mutations_are_configurations_and_patches() {
    let compiled = Policy::compile(
        &json!({"kind": "MutatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": {"mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{labels: {'a': object.metadata.name}}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"}},
        ]}}),
    );
    assert_eq!(compiled.errors(), []);
    let object = json!({"metadata": {"name": "n"}});
    let request = json!({});
    let change = |at| compiled.mutate(at, &input(&object, &request));
    let configuration = json!({"metadata": {"labels": {"a": "n"}}});
    assert_eq!(change(0), Mutated::Change(Mutation::Configuration(configuration)));
    let patch = vec![json!({"op": "add", "path": "/metadata/labels/a~1b", "value": "c"})];
    assert_eq!(change(1), Mutated::Change(Mutation::Patch(patch)));
}

#[test]
fn expressions_ask_what_the_user_may_do() {
    let reason = |check: &str| {
        let spec = json!({"validations": [{"expression": "false", "message": "m"}],
            "auditAnnotations": [{"key": "k", "valueExpression": check}]});
        let found = validate(spec, &json!({}));
        found
            .annotations
            .into_iter()
            .map(|(_, value)| value)
            .chain(found.failed_annotations)
            .collect::<String>()
    };
    let cases = [
        ("authorizer.group('').resource('pods').check('get').allowed() ? 'yes' : 'no'", "yes"),
        ("authorizer.group('').resource('pods').check('list').allowed() ? 'yes' : 'no'", "no"),
        (
            "authorizer.group('apps').resource('deployments').subresource('scale').namespace('a').name('b').check('update').reason()",
            "update apps/deployments/scale a/b []",
        ),
        ("authorizer.path('/healthz').check('get').reason()", "get /healthz"),
        ("authorizer.requestResource.check('custom').reason()", "custom apps/deployments ns/d []"),
        (
            "authorizer.requestResource.name('x').subresource('status').check('get').reason()",
            "get apps/deployments/status ns/x []",
        ),
        ("authorizer.serviceAccount('ns', 'sa').path('/x').check('put').allowed() ? 'yes' : 'no'", "yes"),
        (
            "authorizer.group('').resource('pods').fieldSelector('spec.nodeName=n').labelSelector('a=b').check('list').reason()",
            "list /pods / [\"spec.nodeName\"]",
        ),
        (
            "string(authorizer.path('/x').check('get').errored()) + authorizer.path('/x').check('get').error()",
            "false",
        ),
        (
            "authorizer.path(' ').check('get').reason()",
            "expression 'authorizer.path(' ').check('get').reason()' resulted in error: path must not be empty",
        ),
        (
            "authorizer.serviceAccount('a.b', 'c').path('/').check('x').reason()",
            "expression 'authorizer.serviceAccount('a.b', 'c').path('/').check('x').reason()' resulted in error: Invalid service account namespace",
        ),
    ];
    for (check, expected) in cases {
        assert_eq!(reason(check), expected, "{check}");
    }
    let checks = "authorizer.path('/x').check('get').allowed() || ".repeat(3) + "true";
    let spec = json!({"validations": [{"expression": checks}]});
    let message = &validate(spec, &json!({})).denied[0].message;
    assert!(
        message.ends_with("resulted in error: operation cancelled: actual cost limit exceeded"),
        "{message}"
    );
}

#[test]
fn messages_have_no_authorizer() {
    let of = |member: &str| {
        let mut validation = json!({"expression": "true"});
        validation[member] = json!("authorizer.path('/x').check('get').reason() == '' ? 'a' : 'b'");
        policy(json!({"validations": [validation], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}))
    };
    let errors = of("messageExpression").errors();
    assert!(errors[0].to_string().contains("undeclared reference to 'authorizer'"), "{errors:?}");
    assert!(
        policy(json!({"validations": [{"expression": "authorizer.path('/x').check('get').allowed()"}]}))
            .uses_authorizer()
    );
    assert!(!policy(json!({"validations": [{"expression": "true"}]})).uses_authorizer());
}
