//! Policies on objects.

use serde_json::json;

use super::*;
use crate::cel::{AccessAttributes, Decision, ResourceAttributes};

fn policy(spec: Value) -> Policy {
    Policy::compile(&json!({"kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec}))
}

fn input<'v>(object: &'v Value, request: &'v Value) -> PolicyInput<'v> {
    PolicyInput {
        object,
        old_object: &Value::Null,
        request,
        namespace: &Value::Null,
        params: &Value::Null,
        authorizer: &NamedUsers,
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
    assert!(errors[2].contains("undefined field 'w'"), "{errors:?}");
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
    assert_eq!(change(0), Some(Ok(Mutation::Configuration(configuration))));
    let patch = vec![json!({"op": "add", "path": "/metadata/labels/a~1b", "value": "c"})];
    assert_eq!(change(1), Some(Ok(Mutation::Patch(patch))));
    assert_eq!(change(2), None);
}

/// Allows what concerns objects called `mine`, and service accounts everything.
#[derive(Debug)]
struct NamedUsers;

impl Authorizer for NamedUsers {
    fn decide(&self, account: Option<(&str, &str)>, verb: &str, what: &AccessAttributes) -> Decision {
        let mine = matches!(what, AccessAttributes::Resource(asked) if asked.name == "mine");
        Decision { allowed: mine || account.is_some(), reason: format!("{verb} {what:?}") }
    }

    fn requested(&self) -> ResourceAttributes {
        ResourceAttributes {
            resource: "configmaps".into(),
            name: "mine".into(),
            ..ResourceAttributes::default()
        }
    }
}

#[test]
fn expressions_ask_about_access() {
    let allowed = |expression: &str| {
        let spec = json!({"validations": [{"expression": expression}]});
        let compiled = Policy::compile(&json!({"spec": spec}));
        assert_eq!(compiled.errors(), [], "{expression}");
        assert!(compiled.uses_authorizer());
        compiled.validate(&input(&json!({}), &json!({}))).denied.is_empty()
    };
    assert!(allowed("authorizer.requestResource.check('get').allowed()"));
    assert!(allowed(
        "authorizer.group('').resource('pods').namespace('x').name('mine').check('get').allowed()"
    ));
    assert!(!allowed("authorizer.group('').resource('pods').check('get').allowed()"));
    assert!(!allowed("authorizer.path('/healthz').check('get').allowed()"));
    assert!(allowed("authorizer.serviceAccount('ns', 'a').path('/healthz').check('get').allowed()"));
    assert!(!allowed("authorizer.path(' ').check('get').allowed()"));
    let message = json!({"spec": {"validations": [{"expression": "false", "messageExpression": "authorizer.path('/').check('get').reason()"}]}});
    assert_eq!(Policy::compile(&message).errors().len(), 1, "messages do not ask");
}

#[test]
fn objects_of_a_configuration_are_named_after_their_fields() {
    let mutation = |expression: &str| {
        let object = json!({"spec": {"mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}});
        let compiled = Policy::compile(&object);
        assert_eq!(compiled.errors(), []);
        compiled.mutate(0, &input(&json!({}), &json!({})))
    };
    assert!(mutation("Object{spec: Object.spec{a: [Object.spec.a{b: 1}]}}").is_some_and(|m| m.is_ok()));
    let why = r#"type mismatch: unexpected type name "Object.spec.c", expected "Object.spec.a", which matches field name path from root Object type"#;
    assert_eq!(mutation("Object{spec: Object.spec{a: [Object.spec.c{b: 1}]}}"), Some(Err(why.to_owned())));
}

#[test]
fn variables_see_those_before_them_and_messages_see_all() {
    let mut variables = vec![json!({"name": "v0", "expression": "1"})];
    variables.extend(
        (1..100)
            .map(|at| json!({"name": format!("v{at}"), "expression": format!("variables.v{} + 1", at - 1)})),
    );
    let spec = |first: &str| {
        let mut variables = variables.clone();
        variables[0]["expression"] = first.into();
        json!({"variables": variables, "validations": [
            {"expression": "variables.v9 == 0", "messageExpression": "string(variables.v99)"}]})
    };
    assert_eq!(policy(spec("1")).errors(), []);
    assert_eq!(validate(spec("1"), &json!({})).denied[0].message, "100");
    // A variable that comes later is not there yet.
    let errors = policy(spec("variables.v1")).errors();
    assert_eq!(errors[0].field, "spec.variables[0].expression");
    // Messages have no authorizer, whatever the variables have.
    let asks = json!({"validations": [{"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"}],
        "variables": [{"name": "a", "expression": "authorizer.path('/').check('get').allowed()"}]});
    assert_eq!(policy(asks).errors().len(), 1);
}

#[test]
fn variables_may_not_nest_without_bound() {
    let spec = |count: usize, step: &str| {
        let mut variables = vec![json!({"name": "v0", "expression": "1"})];
        variables.extend((1..count).map(|at| {
            let expression = step.replace("last", &format!("variables.v{}", at - 1));
            json!({"name": format!("v{at}"), "expression": expression})
        }));
        let expression = format!("string(variables.v{}) == ''", count - 1);
        json!({"variables": variables, "validations": [{"expression": expression}]})
    };
    // The deepest that are accepted can be evaluated on the stack of a test's thread.
    for (count, step) in
        [(240, "last".to_owned()), (120, "last + 1".to_owned()), (3, format!("last{}", "+1".repeat(80)))]
    {
        assert_eq!(policy(spec(count, &step)).errors(), [], "{count} {step}");
        assert_eq!(validate(spec(count, &step), &json!({})).denied.len(), 1);
    }
    for step in ["last", "[last]", "{last: last}"] {
        let errors = policy(spec(400, step)).errors();
        assert!(
            errors[0].detail.contains("variables are nested more than 250 levels deep"),
            "{}",
            errors[0].detail
        );
        validate(spec(400, step), &json!({}));
    }
}
