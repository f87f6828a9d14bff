//! Properties over generated schemas and objects.

use super::*;
use proptest::prelude::*;

/// A structural schema of a value, with valid defaults for scalars.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "string", "default": "d"})),
        Just(json!({"type": "integer", "default": 3})),
        Just(json!({"type": "boolean", "nullable": true, "default": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let object = proptest::collection::btree_map("[a-d]", inner.clone(), 0..4)
            .prop_map(|properties| json!({"type": "object", "properties": properties}));
        prop_oneof![
            3 => object,
            1 => inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            1 => inner.prop_map(|values| json!({"type": "object", "additionalProperties": values})),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("x")), Just(json!(true))];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            3 => proptest::collection::btree_map("[a-f]", inner.clone(), 0..4).prop_map(|m| json!(m)),
            1 => proptest::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

fn resource(field: Value) -> Structural {
    structural(json!({"type": "object", "properties": {"spec": field}}))
}

proptest! {
    #[test]
    fn pruning_and_defaulting_twice_change_nothing(field in schema(), spec in value()) {
        let schema = resource(field);
        let mut object = json!({"spec": spec});
        schema.prune(&mut object);
        schema.default(&mut object);
        let mut again = object.clone();
        prop_assert_eq!(schema.prune(&mut again), Vec::<String>::new());
        schema.default(&mut again);
        prop_assert_eq!(again, object);
    }

    #[test]
    fn a_valid_object_stays_valid_with_its_defaults(field in schema(), spec in value()) {
        let schema = resource(field);
        let mut object = json!({"spec": spec});
        if schema.validate_create(&object).is_empty() {
            schema.prune(&mut object);
            schema.default(&mut object);
            prop_assert_eq!(schema.validate_create(&object), Vec::new());
        }
    }

    #[test]
    fn an_update_that_changes_nothing_reports_nothing(field in schema(), spec in value()) {
        let schema = resource(field);
        let mut object = json!({"spec": spec});
        schema.prune(&mut object);
        prop_assert_eq!(schema.validate_update(&object, &object), Vec::new());
    }
}
