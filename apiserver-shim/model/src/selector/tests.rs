//! Tests of grammar, errors and properties of selectors.

use super::*;
use expect_test::expect;
use proptest::prelude::*;

#[test]
fn text_form() {
    let table: Vec<String> = [
        "",
        "a=b",
        "a==b,c!=d",
        " a in (x, y) , b notin (z)",
        "!a,b",
        "a>1,b<2",
        "in=notin",
        "a=",
        "a in ()",
        "a in (,b)",
        "x/y=z",
        "a===b",
        "a in (b",
        "a:b",
        "a>x",
        "a,,b",
        ",",
        "a b",
        "a in b",
        "!",
        "a=b)",
    ]
    .iter()
    .map(|t| {
        format!(
            "{t} -> {}",
            LabelSelector::parse(t).map_or_else(|e| format!("error: {:.90}", e.0), |s| s.to_string())
        )
    })
    .collect();
    expect![[r#"
         -> 
        a=b -> a=b
        a==b,c!=d -> a=b,c!=d
         a in (x, y) , b notin (z) -> a in (x,y),b!=z
        !a,b -> !a,b
        a>1,b<2 -> a>1,b<2
        in=notin -> in=notin
        a= -> a=
        a in () -> a=
        a in (,b) -> a in (,b)
        x/y=z -> x/y=z
        a===b -> error: unable to parse requirement: found '=', expected: identifier
        a in (b -> error: unable to parse requirement: found '', expected: ',' or ')'
        a:b -> error: unable to parse requirement: <nil>: Invalid value: "a:b": name part must consist of alphan
        a>x -> error: unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the 
        a,,b -> error: found ',', expected: identifier after ','
        , -> error: found ',', expected: !, identifier, or 'end of string'
        a b -> error: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt
        a in b -> error: unable to parse requirement: found 'b' expected: '('
        ! -> error: unable to parse requirement: found '', expected: identifier
        a=b) -> error: found ')', expected: ',' or 'end of string'"#]]
    .assert_eq(&table.join("\n"));
}

#[test]
fn object_form_and_matching() {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>()
    };
    let selector = LabelSelector::from_value(&serde_json::json!({
        "matchLabels": {"app": "a"},
        "matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["x"]}, {"key": "e", "operator": "Exists"}],
    }))
    .unwrap();
    assert_eq!(selector.to_string(), "app=a,e,t!=x");
    assert!(selector.matches(&labels(&[("app", "a"), ("e", "")])));
    assert!(!selector.matches(&labels(&[("app", "a"), ("e", ""), ("t", "x")])));
    assert!(!LabelSelector::from_value(&Value::Null).unwrap().matches(&labels(&[])));
    assert!(LabelSelector::everything().matches(&labels(&[])));
    assert!(LabelSelector::parse("n>3").unwrap().matches(&labels(&[("n", "4")])));
    assert!(!LabelSelector::parse("n>3").unwrap().matches(&labels(&[("n", "x")])));
}

#[test]
fn field_selectors() {
    let show =
        |t: &str| FieldSelector::parse(t).map_or_else(|e| format!("error: {}", e.0), |s| s.to_string());
    expect!["a=b,c!=d"].assert_eq(&show("c!=d,a==b"));
    expect![[r"a=b\,c\\"]].assert_eq(&show(r"a=b\,c\\"));
    expect!["error: invalid selector: 'metadata.name'; can't understand 'metadata.name'"]
        .assert_eq(&show("metadata.name"));
    expect![[r"error: invalid field selector: invalid escape sequence: \b"]].assert_eq(&show(r"a=\b"));
    let s = FieldSelector::parse("spec.nodeName=,status.phase!=Failed").unwrap();
    assert!(s.matches(|f| (f == "status.phase").then_some("Running")));
    assert!(!s.matches(|f| (f == "status.phase").then_some("Failed")));
}

proptest! {
    #[test]
    fn printed_selectors_parse_to_themselves(
        parts in prop::collection::vec(("[a-z]{1,4}", prop::sample::select(vec!["=", "!=", " in ", " notin ", "", "!"]), prop::collection::vec("[a-zA-Z0-9]{0,3}", 1..4)), 0..5)
    ) {
        let text: Vec<String> = parts.iter().map(|(k, op, vs)| match *op {
            "" => k.clone(),
            "!" => format!("!{k}"),
            op if op.ends_with(' ') => format!("{k}{op}({})", vs.join(",")),
            op => format!("{k}{op}{}", vs[0]),
        }).collect();
        let selector = LabelSelector::parse(&text.join(",")).unwrap();
        prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn garbage_never_panics(text in ".{0,40}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }
}
