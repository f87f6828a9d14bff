//! Tables: what expressions evaluate to, and what is refused.

use serde_json::json;

use super::*;

fn environment() -> Environment {
    let declared = Environment::default().variable("object", Type::Dyn);
    let declared = declared.variable(
        "typed",
        Type::object_as(
            "typed",
            &[("a-b", Type::Int), ("namespace", Type::String), ("list", Type::list(Type::Double))],
            escape,
        ),
    );
    declared.with_objects(ObjectTypes::Patches)
}

fn evaluate(source: &str) -> String {
    evaluate_on(
        source,
        &json!({
            "metadata": {"name": "n", "labels": {"a/b": "c"}},
            "spec": {"replicas": 3, "list": [1, 2, 3], "items": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "half": 0.5, "on": true},
        }),
    )
}

fn evaluate_on(source: &str, object: &serde_json::Value) -> String {
    let typed = json!({"a-b": 1, "namespace": "x", "list": [1, 2.5]});
    let environment = environment();
    let program = match environment.compile(source) {
        Ok(program) => program,
        Err(error) => return format!("refused: {error}"),
    };
    let typed = Val::of_json(&typed, &environment.variables[1].1);
    let activation = Activation::new(vec![Val::of_json(object, &Type::Dyn), typed]);
    match program.evaluate(&activation) {
        Ok(value) => value.to_json().map_or_else(|| value.to_string(), |json| json.to_string()),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn expressions_evaluate() {
    let table = [
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("1.5 + 2.5", "4.0"),
        ("1 / 0", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("1u + 2u", "3"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1,2]"),
        ("1 == dyn(1.0)", "true"),
        ("1 < 1.5", "true"),
        ("object.spec.replicas > 2", "true"),
        ("object.spec.none", "error: no such key: none"),
        ("has(object.spec.none)", "false"),
        ("has(object.spec.replicas)", "true"),
        ("object.spec.none == 1 || true", "true"),
        ("false && object.spec.none == 1", "false"),
        ("object.spec.none == 1 && false", "false"),
        ("true ? 1 : 2", "1"),
        ("object.metadata.labels['a/b']", "\"c\""),
        ("'a/b' in object.metadata.labels", "true"),
        ("2 in object.spec.list", "true"),
        ("object.spec.list[5]", "error: index out of bounds: 5"),
        ("size(object.spec.list)", "3"),
        ("'äö'.size()", "2"),
        ("object.spec.list.all(x, x > 0)", "true"),
        ("object.spec.list.exists(x, x > 2)", "true"),
        ("object.spec.list.exists_one(x, x > 2)", "true"),
        ("object.spec.list.map(x, x * 2)", "[2,4,6]"),
        ("object.spec.list.map(x, x > 1, x * 2)", "[4,6]"),
        ("object.spec.list.filter(x, x > 1)", "[2,3]"),
        ("object.spec.items.map(i, i.k).join(',')", "\"a,b\""),
        ("object.metadata.labels.all(k, k.contains('/'))", "true"),
        ("object.spec.list.exists(x, 1 / (x - 1) > 0)", "true"),
        ("object.spec.list.all(i, v, v == i + 1)", "true"),
        ("object.spec.list.transformList(i, v, i * v)", "[0,2,6]"),
        ("object.spec.list.transformMap(i, v, v)['x']", "error: no such key: x"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ("object.?spec.?none.orValue(7)", "7"),
        ("object.spec.?replicas.optMap(r, r + 1).orValue(0)", "4"),
        ("optional.of(1).hasValue()", "true"),
        ("optional.none().or(optional.of(2)).value()", "2"),
        ("[?optional.none(), ?optional.of(1)]", "[1]"),
        ("{?'a': optional.none()}", "{}"),
        ("typed.a__dash__b", "1"),
        ("typed.__namespace__", "\"x\""),
        ("typed.list.sum()", "3.5"),
        ("type(1) == int", "true"),
        ("int('7') + int(1.9)", "8"),
        ("string(1.5) + string(true)", "\"1.5true\""),
        ("duration('1h30m').getMinutes()", "90"),
        ("timestamp('2024-02-29T12:00:00Z').getFullYear()", "2024"),
        ("timestamp('2024-02-29T23:00:00Z').getDate('Europe/Berlin')", "1"),
        ("timestamp('2024-01-01T00:00:00Z') + duration('1s') > timestamp('2024-01-01T00:00:00Z')", "true"),
        ("b'abc' == bytes('abc')", "true"),
    ];
    check(&table);
}

#[test]
fn libraries_work() {
    let table = [
        ("'hello'.charAt(1)", "\"e\""),
        ("'hello'.indexOf('l')", "2"),
        ("'hello'.lastIndexOf('l')", "3"),
        ("'a,b,c'.split(',', 2)", "[\"a\",\"b,c\"]"),
        ("'hello'.substring(1, 3)", "\"el\""),
        ("'hello'.substring(3, 1)", "error: invalid substring range. start: 3, end: 1"),
        ("' a '.trim().upperAscii()", "\"A\""),
        ("'aXbX'.replace('X', '-', 1)", "\"a-bX\""),
        ("'%s is %d, %.2f, %x'.format(['a', 1, 0.5, 255])", "\"a is 1, 0.50, ff\""),
        ("'abc 123'.find('[0-9]+')", "\"123\""),
        ("'a1b2'.findAll('[0-9]')", "[\"1\",\"2\"]"),
        ("'abc'.matches('^[a-z]+$')", "true"),
        ("[1, 2, 2].isSorted() && [1, 2, 3].sum() == 6", "true"),
        ("[3, 1, 2].min() + [3, 1, 2].max()", "4"),
        ("['a', 'b', 'a'].lastIndexOf('a')", "2"),
        ("[1, 2, 1].distinct()", "[1,2]"),
        ("[[1], [2, 3]].flatten()", "[1,2,3]"),
        ("[3, 1, 2].sort()", "[1,2,3]"),
        ("[{'a': 2}, {'a': 1}].sortBy(x, x.a)[0].a", "1"),
        ("[1, 2, 3].slice(1, 3).reverse()", "[3,2]"),
        ("lists.range(3)", "[0,1,2]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        (
            "sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])",
            "true",
        ),
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('500m').add(quantity('500m')).asInteger()", "1"),
        ("quantity('2').sub(1).compareTo(quantity('1'))", "0"),
        ("isQuantity('x')", "false"),
        ("ip('10.0.0.1').family()", "4"),
        ("ip('::ffff:1.2.3.4')", "error: IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"),
        ("ip.isCanonical('2001:DB8::1')", "false"),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.1.1') && !cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16')",
            "true",
        ),
        ("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\""),
        ("isIP('1.2.3') || isCIDR('1.2.3.4/33')", "false"),
        ("url('https://a.example:80/p?q=1&q=2').getHostname()", "\"a.example\""),
        ("url('https://a.example:80/p?q=1&q=2').getQuery()['q']", "[\"1\",\"2\"]"),
        ("isURL('not a url')", "false"),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", "true"),
        ("semver('1.0.0-rc.1').compareTo(semver('1.0.0'))", "-1"),
        ("isSemver('v1.2', true) && !isSemver('v1.2')", "true"),
        ("format.dns1123Label().validate('a').hasValue()", "false"),
        ("format.named('uuid').value().validate('x').value()", "[\"does not match the UUID format\"]"),
        ("semver('1')", "error: No Major.Minor.Patch elements found"),
        ("semver('v1.0.0')", "error: Invalid character(s) found in major number \"v1\""),
        ("semver('1.2.3.4')", "error: Invalid character(s) found in patch number \"3.4\""),
        ("url('/a b').getEscapedPath()", "\"/a%20b\""),
        (
            "url(':')",
            "error: URL parse error during conversion from string: parse \":\": missing protocol scheme",
        ),
        (
            "url('http://[::1')",
            "error: URL parse error during conversion from string: parse \"http://[::1\": missing ']' in host",
        ),
        (
            "url('x y')",
            "error: URL parse error during conversion from string: parse \"x y\": invalid URI for request",
        ),
        ("dyn(['a']).sum()", "error: no such overload: sum(list)"),
        ("dyn(1).lowerAscii()", "error: no such overload: lowerAscii(int)"),
        ("dyn(null) + 1", "error: no such overload: _+_"),
        ("dyn(1) + dyn(null)", "error: no such overload"),
        ("dyn(1).all(x, true)", "error: got 'types.Int', expected iterable type"),
        ("dyn([1])['a']", "error: unsupported index type 'string' in list"),
        ("'abc'.indexOf('a', 10)", "-1"),
        (
            "'%s'.format([[1, 2.5, 'a', true, null, b'x', duration('1s')]])",
            "\"[1, 2.500000, \\\"a\\\", true, null, b\\\"x\\\", duration(\\\"1s\\\")]\"",
        ),
        ("'%s'.format([{'b': 1, 'a': [1]}])", "\"{\\\"a\\\":[1], \\\"b\\\":1}\""),
        ("'%f %e'.format([12345678.5, 0.00012345])", "\"12,345,678.500000 1.234500×10⁻⁰⁴\""),
        (
            "'%z'.format(dyn([1]))",
            "error: could not parse formatting clause: unrecognized formatting clause \"z\"",
        ),
        ("string(100000000.0)", "\"1e+08\""),
        ("jsonpatch.escapeKey('a/b~c')", "\"a~1b~0c\""),
    ];
    check(&table);
}

fn check(table: &[(&str, &str)]) {
    for (source, expected) in table {
        let found = evaluate(source);
        let matches = if *expected == "refused" { found.starts_with("refused") } else { found == *expected };
        assert!(matches, "{source}: expected {expected}, found {found}");
    }
}

#[test]
fn what_is_not_an_expression_is_refused_with_its_position() {
    let table = [
        (
            "object.x +",
            "ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | object.x +\n | ..........^",
        ),
        (
            "objectt.x == 1",
            "ERROR: <input>:1:1: undeclared reference to 'objectt' (in container '')\n | objectt.x == 1\n | ^",
        ),
        (
            "1 + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
        (
            "true / []",
            "ERROR: <input>:1:6: found no matching overload for '_/_' applied to '(bool, list(dyn))'\n | true / []\n | .....^",
        ),
        ("typed.none", "ERROR: <input>:1:6: undefined field 'none'\n | typed.none\n | .....^"),
        ("foo(1)", "ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')\n | foo(1)\n | ...^"),
        (
            "'a'.startsWith(1)",
            "ERROR: <input>:1:15: found no matching overload for 'startsWith' applied to 'string.(int)'\n | 'a'.startsWith(1)\n | ..............^",
        ),
    ];
    for (source, expected) in table {
        let error = environment().compile(source).map(|_| ()).expect_err(source);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn an_evaluation_ends_when_its_budget_is_spent() {
    let list = (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let source = format!("[{list}].all(a, [{list}].all(b, [{list}].all(c, a + b + c >= 0)))");
    assert_eq!(evaluate(&source), "error: operation cancelled: actual cost limit exceeded");
    assert_eq!(
        evaluate("lists.range(100000000).size()"),
        "error: operation cancelled: actual cost limit exceeded"
    );
}

const SPENT: &str = "error: operation cancelled: actual cost limit exceeded";

#[test]
fn only_the_elements_that_a_macro_visits_are_read() {
    let map: serde_json::Map<String, serde_json::Value> =
        (0..20_000).map(|n| (n.to_string(), json!(1))).collect();
    let list: Vec<i32> = (0..20_000).collect();
    let object = json!({"map": map, "list": list});
    // If each inner macro read all elements, these would be 400,000,000 steps.
    assert_eq!(evaluate_on("object.map.all(x, object.map.exists(y, true))", &object), "true");
    assert_eq!(evaluate_on("object.list.all(x, object.list.exists(y, true))", &object), "true");
    assert_eq!(evaluate_on("object.list.all(x, object.list.all(y, y >= 0))", &object), SPENT);
}

#[test]
fn what_an_expression_copies_is_charged() {
    // Ten doublings: 2,048 elements of two, four million of 4,000.
    let double = |of: String| format!("[{of}].map(l, l + l)[0]");
    let doubled = (0..10).fold("object.list".to_owned(), |of, _| double(of));
    assert_eq!(evaluate_on(&format!("{doubled}.size()"), &json!({"list": [1, 2]})), "2048");
    let list: Vec<i32> = (0..4_000).collect();
    assert_eq!(evaluate_on(&format!("{doubled}.size()"), &json!({ "list": list })), SPENT);
    // A map that an expression makes is searched.
    let made = "[object.list.transformMap(i, v, v)].all(m, object.list.all(v, v in m))";
    assert_eq!(evaluate_on(made, &json!({ "list": list })), SPENT);
    assert_eq!(evaluate_on("object.list.distinct().size()", &json!({ "list": list })), SPENT);
}

#[test]
fn large_patterns_cost_what_compiling_them_takes() {
    let table = [
        ("['a', 'b'].all(x, 'a-1'.matches('^[a-z]+-[0-9]{1,9}' + x + '?$'))", "true"),
        (r"['a', 'b', 'c'].exists(x, 'q'.matches('(\\pL{1,100}' + x + '){1,8}'))", SPENT),
    ];
    check(&table);
}

#[test]
fn composed_expressions_are_evaluated_once() {
    let environment = Environment::default().variable("object", Type::Dyn);
    let first = environment.compile("object.a + 1").unwrap();
    let environment = environment.composed("x", Some(&first));
    let program = environment.compile("variables.x + variables.x").unwrap();
    let object = json!({"a": 1});
    let activation = Activation::new(vec![Val::of_json(&object, &Type::Dyn)]).with_composed([("a", &first)]);
    assert_eq!(program.evaluate(&activation).unwrap().to_json(), Some(json!(4)));
}

#[test]
fn deep_expressions_are_refused() {
    for depth in [25, 5000] {
        let source = format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(environment().compile(&source).is_err());
    }
    let deep = format!("{}1{}", "[".repeat(22), "]".repeat(22));
    assert!(environment().compile(&deep).is_ok());
    let long = format!("1{}", "+1".repeat(90));
    assert_eq!(evaluate(&long), "91");
}

#[test]
fn the_text_of_many_errors_is_bounded() {
    let unknown = format!("[{}]", vec!["x"; 4_000].join(","));
    let calls = format!("[{}]", vec!["f()"; 24_000].join(","));
    for source in [&unknown, &calls, &"a b ".repeat(2_000), &"Object.x{".repeat(10)] {
        let error = environment().compile(source).map(|_| ()).expect_err(source).to_string();
        assert!(error.len() < 100_000, "{}", error.len());
    }
    let error = environment().compile(&unknown).map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("\n3900 more errors were truncated"));
}

#[test]
fn types_do_not_grow_without_bound() {
    // Each step would double the type.
    let source = format!("[1]{}.size() == 1", ".map(x, {x: x})".repeat(30));
    assert!(environment().compile(&source).is_ok());
}

/// An expression that applies another one, of `x`, many more times to it than either nests.
fn repeated(doublings: u32, once: &str) -> String {
    (0..doublings).fold(once.to_owned(), |body, _| format!("[{body}].map(x, {body})[0]"))
}

#[test]
fn macros_do_not_nest_values_without_bound() {
    const TOO_DEEP: &str = "error: value is nested more than 500 levels deep";
    // 480 levels may be compared and printed, in the stack of this thread.
    let most = format!("[1].map(x, {})", repeated(5, "[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]"));
    let uses = "all(y, y == y && [y, y].distinct().size() == 1 && '%s'.format([y]).size() == 961)";
    assert_eq!(evaluate(&format!("{most}.{uses}")), "true");
    assert_eq!(evaluate(&format!("{most}[0]")), format!("{}1{}", "[".repeat(480), "]".repeat(480)));
    // 16,384 levels in 60 kB: to compare them would take more stack than a thread has.
    let compared = format!("[1].map(x, {}).all(y, y == y)", repeated(11, "[[[[[[[[x]]]]]]]]"));
    assert_eq!(evaluate(&compared), TOO_DEEP);
    for once in ["[{1: [{1: [{1: [[x]]}]}]}]", "optional.of(optional.of([[[[[[x]]]]]]))"] {
        let value = format!("[1].map(x, {})", repeated(6, once));
        assert_eq!(evaluate(&format!("'%s'.format([{value}])")), TOO_DEEP, "{once}");
        // What is refused is an error of the operand.
        assert_eq!(evaluate(&format!("dyn({value}) == [1] || true")), "true");
    }
    // Named expressions nest values deeper than each does.
    let environment = environment();
    let first = environment.compile(&most).unwrap();
    let environment = environment.composed("x", Some(&first));
    let second = environment.compile(&format!("variables.x.map(x, {})", repeated(5, "[[[[x]]]]"))).unwrap();
    let activation = || Activation::new(vec![Val::Null, Val::Null]).with_composed([("x", &first)]);
    assert_eq!(second.evaluate(&activation()), Err(EvalError::TooDeep));
}

#[test]
fn values_that_share_their_parts_are_bounded() {
    let doubled = |times| format!("[1]{}", ".map(x, [x, x])".repeat(times));
    assert_eq!(evaluate(&doubled(30)), "error: value has more than 2000000 parts");
    let cost = |times, step: &str| {
        let program = environment().compile(&format!("{}.all(x, {step})", doubled(times))).unwrap();
        let activation = Activation::new(vec![]);
        let found = program.evaluate(&activation).map(|value| value.to_string());
        (found, activation.take_cost())
    };
    let steps = [
        "x == x",
        "x in [x]",
        "[x].indexOf(x) == 0",
        "sets.contains([x], [x])",
        "[x].distinct().size() == 1",
        "'%s'.format([x]) != ''",
        "{x: 1}[x] == 1",
        "x in {x: 1}",
        "{x: 1, x: 2}.size() == 1",
        "[1].transformMapEntry(i, v, {x: 1}) == {x: 1}",
    ];
    for step in steps {
        let (found, cost) = cost(14, step);
        assert_eq!(found, Ok("true".to_owned()), "{step}");
        // 16,384 parts, a tenth of a unit for each.
        assert!((1_600..10_000).contains(&cost), "{step}: {cost}");
    }
}
