//! Policies and bindings with everything that can be wrong.

use super::*;
use expect_test::{Expect, expect};
use serde_json::json;

fn expect_errors(errors: &[FieldError], expected: &Expect) {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn constraints() -> Value {
    let rule =
        json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
    json!({"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [rule]})
}

#[test]
fn errors_of_validating_policies_are_in_order() {
    let spec = json!({
        "failurePolicy": "No", "paramKind": {"apiVersion": "A/v1", "kind": "x y"}, "matchConstraints": {},
        "matchConditions": [{"name": "a", "expression": "x"}, {"name": "a", "expression": " "}],
        "variables": [{"name": "in", "expression": ""}, {"name": "ok", "expression": "y"}],
        "validations": [
            {"expression": "1", "message": " ", "messageExpression": " ", "reason": "Odd"},
            {"expression": " ", "message": "a\nb", "messageExpression": "2"},
        ],
        "auditAnnotations": [{"key": "k", "valueExpression": "1"}, {"key": "k", "valueExpression": "''"}],
    });
    let object = json!({"metadata": {"name": "p"}, "spec": spec});
    expect_errors(
        &policy(&object, None, false),
        &expect![[r#"
        spec.failurePolicy: Unsupported value: "No": supported values: "Fail", "Ignore"
        spec.paramKind.apiVersion: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.paramKind.kind: Invalid value: "x y": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.matchConstraints.matchPolicy: Required value
        spec.matchConstraints.namespaceSelector: Required value
        spec.matchConstraints.objectSelector: Required value
        spec.matchConstraints.resourceRules: Required value
        spec.matchConditions[0].expression: Invalid value: "x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')
         | x
         | ^
        spec.matchConditions[1].expression: Required value
        spec.matchConditions[1].name: Duplicate value: "a"
        spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier
        spec.variables[0].expression: Required value: expression is not specified
        spec.variables[1].expression: Invalid value: "y": compilation failed: ERROR: <input>:1:1: undeclared reference to 'y' (in container '')
         | y
         | ^
        spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int
        spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified
        spec.validations[0].message: Invalid value: " ": must be non-empty if specified
        spec.validations[0].reason: Unsupported value: "Odd": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"
        spec.validations[1].expression: Required value: expression is not specified
        spec.validations[1].messageExpression: Invalid value: "2": must evaluate to string but got int
        spec.validations[1].message: Invalid value: "a\nb": must not contain line breaks
        spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type] but got int
        spec.auditAnnotations[1].key: Duplicate value: "k""#]],
    );
    let unchanged = policy(&object, Some(&object), false);
    assert!(!unchanged.iter().any(|error| error.field.starts_with("spec.matchConditions")));
    let nothing = json!({"spec": {"failurePolicy": "Fail", "matchConstraints": constraints()}});
    expect_errors(
        &policy(&nothing, None, false),
        &expect![[r#"
        spec.validations: Required value: validations or auditAnnotations must contain at least one item
        spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"#]],
    );
}

#[test]
fn errors_of_mutating_policies_are_in_order() {
    let mut resources = constraints();
    resources["resourceRules"][0]["operations"] = json!(["DELETE"]);
    resources["resourceRules"][0]["resourceNames"] = json!(["a", "a", "/"]);
    let spec = json!({
        "failurePolicy": "Fail", "matchConstraints": resources, "reinvocationPolicy": "Odd",
        "mutations": [
            {},
            {"patchType": "Odd"},
            {"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " 1 "}},
        ],
    });
    let object = json!({"spec": spec});
    expect_errors(
        &policy(&object, None, true),
        &expect![[r#"
        spec.matchConstraints.resourceRules[0].resourceNames[1]: Duplicate value: "a"
        spec.matchConstraints.resourceRules[0].resourceNames[2]: Invalid value: "/": may not contain '/'
        spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"
        spec.mutations[0].patchType: Required value
        spec.mutations[1].patchType: Unsupported value: "Odd": supported values: "ApplyConfiguration", "JSONPatch"
        spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch
        spec.mutations[2].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch
        spec.mutations[3].applyConfiguration.expression: Invalid value: "1": must evaluate to Object but got int
        spec.reinvocationPolicy: Unsupported value: "Odd": supported values: "IfNeeded", "Never""#]],
    );
}

#[test]
fn errors_of_bindings_are_in_order() {
    let spec = json!({
        "policyName": "A", "paramRef": {"name": "/", "selector": {}, "parameterNotFoundAction": "Odd"},
        "matchResources": {}, "validationActions": ["Odd", "Deny", "Deny", "Warn"],
    });
    expect_errors(
        &binding(&json!({"spec": spec}), false),
        &expect![[r#"
        spec.policyName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.paramRef.name: Invalid value: "/": may not contain '/'
        spec.paramRef.name: Forbidden: name and selector are mutually exclusive
        spec.paramRef.selector: Forbidden: name and selector are mutually exclusive
        spec.paramRef.parameterNotFoundAction: Unsupported value: "Odd": supported values: "Deny", "Allow"
        spec.matchResources.matchPolicy: Required value
        spec.matchResources.namespaceSelector: Required value
        spec.matchResources.objectSelector: Required value
        spec.validationActions[0]: Unsupported value: "Odd": supported values: "Audit", "Deny", "Warn"
        spec.validationActions[2]: Duplicate value: "Deny"
        spec.validationActions: Invalid value: ["Odd","Deny","Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#]],
    );
    let nothing = json!({"spec": {"paramRef": {}}});
    expect_errors(
        &binding(&nothing, false),
        &expect![[r#"
        spec.policyName: Required value
        spec.paramRef: Required value: one of name or selector must be specified
        spec.paramRef.parameterNotFoundAction: Required value
        spec.validationActions: Required value: at least one validation action is required"#]],
    );
    expect_errors(
        &binding(&nothing, true),
        &expect![[r#"
        spec.policyName: Required value
        spec.paramRef: Required value: one of name or selector must be specified
        spec.paramRef.parameterNotFoundAction: Required value"#]],
    );
}

#[test]
fn wildcards_exclude_what_follows_them() {
    let mut resources = constraints();
    let names = json!(["pods/*", "pods/log", "*/scale", "a/scale", "*", "b", "*/*"]);
    resources["resourceRules"][0]["resources"] = names;
    let object = json!({"spec": {"policyName": "p", "matchResources": resources}});
    expect_errors(
        &binding(&object, true),
        &expect![[r#"
        spec.matchResources.resourceRules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log
        spec.matchResources.resourceRules[0].resources[3]: Invalid value: "a/scale": if '*/scale' is present, must not specify a/scale
        spec.matchResources.resourceRules[0].resources: Invalid value: ["pods/*","pods/log","*/scale","a/scale","*","b","*/*"]: if '*/*' is present, must not specify other resources
        spec.matchResources.resourceRules[0].resources: Invalid value: ["pods/*","pods/log","*/scale","a/scale","*","b","*/*"]: if '*' is present, must not specify other resources without subresources"#]],
    );
}
