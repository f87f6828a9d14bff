//! What a CRD's schemas may not contain.

use super::*;

/// The errors of a schema in a definition with one version.
fn check(schema: Value, expected: Expect) {
    let spec = json!({"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]});
    let site = SchemaSite { at: "spec.validation", version: "v1", has_status: false };
    expected.assert_eq(&lines(&SchemaRules::new(&spec, None).validate(&schema, &site)));
}

#[test]
fn a_structural_schema_is_valid() {
    check(
        json!({"type": "object", "description": "d", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
            "spec": {"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string", "default": "x", "pattern": "^x"},
                "p": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "l": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            }},
        }}),
        expect![""],
    );
}

#[test]
fn structure_is_checked() {
    check(
        json!({"properties": {"a": {}, "b": {"type": "array"}, "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            "additionalProperties": {"type": "string"}}),
        expect![[r#"
            spec.validation.openAPIV3Schema.additionalProperties: Forbidden: must not be used at the root
            spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields
            spec.validation.openAPIV3Schema.properties[b].items: Required value: must be specified
            spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified
            spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root
            spec.validation.openAPIV3Schema.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive
        "#]],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "object", "anyOf": [
            {"type": "object", "description": "d", "properties": {"x": {"minLength": 1}, "metadata": {}}}]}}}),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[a].anyOf[0].description: Forbidden: must be empty to be structural
            spec.validation.openAPIV3Schema.properties[a].anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context
            spec.validation.openAPIV3Schema.properties[a].anyOf[0].type: Forbidden: must be empty to be structural
        "#]],
    );
    check(
        json!({"type": "object", "properties": {
            "a": {"type": "string", "pattern": "("},
            "b": {"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true},
            "c": {"x-kubernetes-embedded-resource": true},
        }}),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`
            spec.validation.openAPIV3Schema.properties[b].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true
            spec.validation.openAPIV3Schema.properties[c].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields
            spec.validation.openAPIV3Schema.properties[c].type: Required value: must be object if x-kubernetes-embedded-resource is true
        "#]],
    );
}

#[test]
fn keywords_are_checked() {
    check(
        json!({"type": "object", "nullable": true, "properties": {
            "a": {"type": "strin"}, "b": {"type": "null"}, "c": {"type": "array", "uniqueItems": true, "items": {"type": "string"}},
        }}),
        expect![[r#"
            spec.validation.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root
            spec.validation.openAPIV3Schema.properties[a].type: Unsupported value: "strin": supported values: "array", "boolean", "integer", "number", "object", "string"
            spec.validation.openAPIV3Schema.properties[b].type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string"
            spec.validation.openAPIV3Schema.properties[b].type: Forbidden: type cannot be set to null, use nullable as an alternative
            spec.validation.openAPIV3Schema.properties[c].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic
        "#]],
    );
    check(
        json!({"type": "object", "$ref": "#/x", "definitions": {"x": {"type": "string"}}}),
        expect![[r##"
            spec.validation.openAPIV3Schema.definitions: Forbidden: definitions is not supported
            spec.validation.openAPIV3Schema.$ref: Forbidden: $ref is not supported
        "##]],
    );
}

#[test]
fn lists_and_maps_are_checked() {
    check(
        json!({"type": "object", "properties": {
            "a": {"type": "object", "x-kubernetes-list-type": "set"},
            "b": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
            "c": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"},
            "d": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "k", "z"],
                "items": {"type": "object", "nullable": true, "properties": {"k": {"type": "string"}}}},
            "e": {"type": "string", "x-kubernetes-map-type": "what"},
            "f": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-map-keys": ["k"]},
        }}),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[a].type: Invalid value: "object": must be array if x-kubernetes-list-type is specified
            spec.validation.openAPIV3Schema.properties[b].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set
            spec.validation.openAPIV3Schema.properties[c].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map
            spec.validation.openAPIV3Schema.properties[c].items.type: Invalid value: "string": must be object if parent array's x-kubernetes-list-type is map
            spec.validation.openAPIV3Schema.properties[d].x-kubernetes-list-map-keys: Invalid value: ["k","k","z"]: must not contain duplicate entries
            spec.validation.openAPIV3Schema.properties[d].x-kubernetes-list-map-keys: Invalid value: ["k","k","z"]: entries must all be names of item properties
            spec.validation.openAPIV3Schema.properties[d].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map
            spec.validation.openAPIV3Schema.properties[d].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
            spec.validation.openAPIV3Schema.properties[d].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
            spec.validation.openAPIV3Schema.properties[e].type: Invalid value: "string": must be object if x-kubernetes-map-type is specified
            spec.validation.openAPIV3Schema.properties[e].x-kubernetes-map-type: Unsupported value: "what": supported values: "atomic", "granular"
            spec.validation.openAPIV3Schema.properties[f].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty
        "#]],
    );
}

#[test]
fn defaults_are_valid_and_pruned() {
    check(
        json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}},
            "a": {"type": "string", "default": 1},
            "b": {"type": "object", "properties": {"c": {"type": "string"}}, "default": {"d": 1}},
            "r": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"metadata": {"type": "object", "default": {"labels": {"a b": "c"}}}}},
        }}),
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[a].default: Invalid value: "integer":  in body must be of type string: "integer"
            spec.validation.openAPIV3Schema.properties[b].default: Invalid value: {"d":1}: must not have unknown fields
            spec.validation.openAPIV3Schema.properties[r].properties[metadata].default: Invalid value: {"labels":{"a b":"c"}}: must result in valid metadata: metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.validation.openAPIV3Schema.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata
        "#]],
    );
}

#[test]
fn an_update_does_not_report_what_the_stored_definition_breaks() {
    let spec = |schema: Value| json!({"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]});
    let old = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}}});
    let mut new = old.clone();
    new["description"] = "new".into();
    let site = SchemaSite { at: "spec.validation", version: "v1", has_status: false };
    let errors = |stored: Option<&Value>| SchemaRules::new(&spec(new.clone()), stored).validate(&new, &site);
    assert_eq!(errors(None).len(), 1);
    assert_eq!(errors(Some(&spec(old.clone()))), []);
}

#[test]
fn selectable_fields_are_scalars() {
    let schema = json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": {"type": "object", "properties": {"color": {"type": "string"}, "o": {"type": "object"}}}}});
    let fields = json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.color"}, {"jsonPath": ".spec.o"},
        {"jsonPath": ".spec.x"}, {"jsonPath": "spec"}, {"jsonPath": ".spec['color']"}, {"jsonPath": ".metadata.name"}, {}]);
    expect![[r#"
        spec.selectableFields[1].jsonPath: Duplicate value: ".spec.color"
        spec.selectableFields[2].jsonPath: Invalid value: ".spec.o": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.
        spec.selectableFields[3].jsonPath: Invalid value: ".spec.x": is an invalid path: does not refer to a valid field
        spec.selectableFields[4].jsonPath: Invalid value: "spec": is an invalid path: expected [ or . but got: spec
        spec.selectableFields[5].jsonPath: Invalid value: ".spec['color']": is an invalid path: array notation is not allowed
        spec.selectableFields[6].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata
        spec.selectableFields[7].jsonPath: Required value
    "#]].assert_eq(&lines(&selectable_field_errors(&fields, &schema, "spec.selectableFields", false)));
}
