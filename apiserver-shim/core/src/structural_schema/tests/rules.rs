//! Rules in CEL.

use super::*;

fn rules(list: Value) -> Structural {
    structural(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"},
        "a-b": {"type": "integer"}, "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "string"}, "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}},
    }, "x-kubernetes-validations": list}}}))
}

#[test]
fn a_rule_that_is_broken_is_an_error() {
    let schema = rules(json!([
        {"rule": "!has(self.max) || self.min <= self.max", "message": "min exceeds max"},
        {"rule": "!has(self.a__dash__b) || self.a__dash__b > 0", "fieldPath": ".a-b", "reason": "FieldValueForbidden"},
        {"rule": "!has(self.name) || self.name != 'x'", "messageExpression": "'not ' + self.name"},
        {"rule": "!has(self.port) || self.port == 80 || self.port == 'http'"},
    ]));
    let errors = |spec: Value| lines(&schema.validate_create(&json!({"spec": spec})));
    assert_eq!(errors(json!({"min": 1, "max": 2, "port": "http"})), "");
    expect![[r#"
        spec: Invalid value: min exceeds max
        spec.a-b: Forbidden: failed rule: !has(self.a__dash__b) || self.a__dash__b > 0
        spec: Invalid value: not x
        spec: Invalid value: failed rule: !has(self.port) || self.port == 80 || self.port == 'http'
    "#]]
    .assert_eq(&errors(json!({"min": 3, "max": 2, "a-b": 0, "name": "x", "port": 81})));
    expect![[r#"
        spec: Invalid value: "object": no such key: min evaluating rule: min exceeds max
    "#]]
    .assert_eq(&errors(json!({"max": 2})));
}

#[test]
fn transition_rules_compare_with_the_old_value() {
    let schema = rules(json!([
        {"rule": "self.min >= oldSelf.min", "message": "min must not shrink"},
        {"rule": "!oldSelf.hasValue() || self.name == oldSelf.value().name", "optionalOldSelf": true, "message": "fixed"},
    ]));
    let object = |min: i64, name: &str, v: i64| json!({"spec": {"min": min, "name": name, "list": [{"n": "b", "v": v}]}});
    assert_eq!(schema.validate_create(&object(1, "a", 1)), []);
    assert_eq!(schema.validate_update(&object(1, "a", 2), &object(1, "a", 1)), []);
    expect![[r#"
        spec: Invalid value: min must not shrink
        spec: Invalid value: fixed
        spec.list[0].v: Invalid value: 0: failed rule: self >= oldSelf
    "#]]
    .assert_eq(&lines(&schema.validate_update(&object(0, "b", 0), &object(1, "a", 1))));
}

#[test]
fn what_an_unchanged_value_breaks_is_not_reported() {
    let schema = rules(json!([{"rule": "self.min > 5"}]));
    let mut new = json!({"metadata": {"name": "a"}, "spec": {"min": 1}});
    let old = new.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(schema.validate_update(&new, &old), []);
    new["spec"]["max"] = 3.into();
    assert_eq!(schema.validate_update(&new, &old).len(), 1);
}

#[test]
fn errors_that_rules_rely_on_skip_them() {
    let schema = rules(json!([{"rule": "self.min > 5"}]));
    expect![[r#"
        spec.min: Invalid value: "string": spec.min in body must be of type integer: "string"
        <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation
    "#]]
    .assert_eq(&lines(&schema.validate_create(&json!({"spec": {"min": "x"}}))));
}

#[test]
fn rules_that_do_not_compile_are_refused() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "integer"}, "l": {"type": "array", "maxItems": 9, "items": {"type": "string", "maxLength": 9,
            "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}},
        "x-kubernetes-validations": [{"rule": "self.b > 1"}, {"rule": "self.a"}, {"rule": "self.a > 1", "messageExpression": "1"},
            {"rule": "self.a > 1", "optionalOldSelf": true}]}}});
    let spec = json!({"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]});
    let site = SchemaSite { at: "spec.validation", version: "v1", has_status: false };
    let errors = SchemaRules::new(&spec, None).validate(&schema, &site);
    let texts: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.detail)).collect();
    expect![[r#"
        spec.validation.openAPIV3Schema.properties[spec].properties[l].items.x-kubernetes-validations[0].rule: oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[spec].properties[l]
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: compilation failed: ERROR: <input>:1:5: undefined field 'b'
         | self.b > 1
         | ....^
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[1].rule: cel expression must evaluate to a bool
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[2].messageExpression: messageExpression must evaluate to a string
        spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[3].optionalOldSelf: may not be set if oldSelf is not used in rule"#]]
    .assert_eq(&texts.join("\n"));
}

#[test]
fn rules_that_may_cost_too_much_are_refused() {
    let check = |limits: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.contains('a')"}]},
            "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]});
        shim_model::patch::merge::apply(&mut list, &limits);
        let schema =
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"l": list}}}});
        let spec = json!({"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]});
        let site = SchemaSite { at: "spec.validation", version: "v1", has_status: false };
        let errors = SchemaRules::new(&spec, None).validate(&schema, &site);
        let advice = " (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
        let texts: Vec<String> = errors.iter().map(|e| e.to_string().replace(advice, "")).collect();
        texts.join("\n").replace("spec.validation.openAPIV3Schema", "S")
    };
    expect![[r#"
        S.properties[spec].properties[l].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x
        S.properties[spec].properties[l].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x
        S.properties[spec].properties[l].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema
        S.properties[spec].properties[l].items.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema
        S: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x"#]]
    .assert_eq(&check(json!({})));
    assert_eq!(check(json!({"maxItems": 20, "items": {"maxLength": 20}})), "");
}
