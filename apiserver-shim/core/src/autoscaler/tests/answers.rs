//! Answers of metrics APIs that are not what they should be.

use shim_model::quantity::QuantityError;

use super::*;

fn outside(kind: &str) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    match kind {
        "Pods" => json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": target}}),
        "Object" => json!({"type": "Object", "object": {"metric": {"name": "m"}, "target": target,
            "describedObject": {"kind": "Service", "name": "s"}}}),
        "Resource" => json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}),
        _ => json!({"type": "External", "external": {"metric": {"name": "m"}, "target": target}}),
    }
}

/// What is read from an answer of five replicas' metric; nothing may be scaled by one that is refused.
fn read(kind: &str, answer: &str) -> String {
    let object = json!({"spec": {"metrics": [outside(kind)]}});
    match Spec::read(&object).metrics[0].usage(Ok(answer.as_bytes())) {
        Ok(Usage::Total(total)) => format!("{total}"),
        Ok(Usage::Pods(samples)) => {
            let show = |(name, sample): (&String, &Sample)| {
                format!("{name}={} at {} in {}", sample.value, sample.at, sample.window)
            };
            let all = samples.iter().map(show).collect::<Vec<_>>().join(", ");
            if all.is_empty() { "no samples".to_owned() } else { all }
        }
        Err(why) => {
            let mut case = Case::new(5, json!([outside(kind)]));
            case.object["spec"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 0,
                "policies": [{"type": "Pods", "value": 9, "periodSeconds": 15}]}});
            case.answers = vec![Err(String::new())];
            let object = case.object.clone();
            case.known(&[&object]);
            let stored = crate::testing::stored(&object);
            let spec = Spec::read(&object);
            let mut report = Report::begin(&stored.header, &object, case.now);
            let answers = [Err(why.clone())];
            let (scale, pods) = (case.scale.clone(), case.pods.as_slice());
            let look = Look {
                uid: &stored.header.uid,
                namespace: "ns",
                spec: &spec,
                scale,
                pods,
                answers: &answers,
                now: case.now,
            };
            assert_eq!(case.autoscaler.decide(&look, &mut report), None);
            let text = format!("{:?}", report.plan());
            assert!(text.contains(&format!("FailedGet{kind}Metric")), "{text}");
            let form = QuantityError::Form.to_string();
            let why = why.replace("unable to fetch metrics from ", "").replace(&form, "not a quantity");
            why.replace("cannot decode the answer: ", "")
        }
    }
}

/// The beginning of the usage of one Pod.
const OF_POD: &str = r#"{"items": [{"metadata": {"name": "p0"}, "#;

fn check_answers(kind: &str, answers: &[&str], expected: Expect) {
    let told: String = answers.iter().map(|answer| format!("{answer}\n  {}\n", read(kind, answer))).collect();
    expected.assert_eq(&told.replace(OF_POD, "POD "));
}

#[test]
fn values_from_outside_are_quantities() {
    check_answers(
        "External",
        &[
            r#"{"items": [{"value": "5"}, {"value": " 1500m "}]}"#,
            r#"{"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "items": [{"value": 5}]}"#,
            r#"{"items": [{"value": 1.5, "timestamp": null}]}"#,
            r#"{"items": [{"value": "1e999999999"}]}"#,
            r#"{"items": null}"#,
            r#"{"items": []}"#,
            r#"{}"#,
            r#"{"items": [{"value": "abc"}]}"#,
            r#"{"items": [{"value": ""}]}"#,
            r#"{"items": [{"value": true}]}"#,
            r#"{"items": [{"value": null}]}"#,
            r#"{"items": [{"value": {"a": 1}}]}"#,
            r#"{"items": [{}]}"#,
            r#"{"items": [{"value": "1"}, null]}"#,
            r#"{"items": [1, null, "x"]}"#,
            r#"{"items": [["m", "1"]]}"#,
            r#"{"items": {"a": 1}}"#,
            r#"{"items": "x"}"#,
            r#"{"items": [{"value": "1", "timestamp": "yesterday"}]}"#,
            r#"{"items": [{"value": "1", "timestamp": 5}]}"#,
            r#"{"kind": "PodMetricsList", "items": [{"value": "1"}]}"#,
            r#"{"kind": "List", "apiVersion": "v1", "items": [{"value": "1"}]}"#,
            r#"{"kind": 5, "items": [{"value": "1"}]}"#,
            r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no such metric"}"#,
            "[]",
            "null",
            "\"x\"",
            r#"{"items": [{"value": NaN}]}"#,
            "",
        ],
        expect![[r#"
            {"items": [{"value": "5"}, {"value": " 1500m "}]}
              6500
            {"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "items": [{"value": 5}]}
              5000
            {"items": [{"value": 1.5, "timestamp": null}]}
              1500
            {"items": [{"value": "1e999999999"}]}
              9223372036854775807
            {"items": null}
              no metrics returned from external metrics API
            {"items": []}
              no metrics returned from external metrics API
            {}
              no metrics returned from external metrics API
            {"items": [{"value": "abc"}]}
              external metrics API: not a quantity at line 1 column 26
            {"items": [{"value": ""}]}
              external metrics API: not a quantity at line 1 column 23
            {"items": [{"value": true}]}
              external metrics API: invalid type: boolean `true`, expected a quantity at line 1 column 25
            {"items": [{"value": null}]}
              external metrics API: invalid type: null, expected a quantity at line 1 column 25
            {"items": [{"value": {"a": 1}}]}
              external metrics API: invalid type: map, expected a quantity at line 1 column 22
            {"items": [{}]}
              external metrics API: missing field `value` at line 1 column 13
            {"items": [{"value": "1"}, null]}
              external metrics API: invalid type: null, expected an object at line 1 column 31
            {"items": [1, null, "x"]}
              external metrics API: invalid type: integer `1`, expected an object at line 1 column 12
            {"items": [["m", "1"]]}
              external metrics API: invalid type: sequence, expected an object at line 1 column 11
            {"items": {"a": 1}}
              external metrics API: invalid type: map, expected a sequence at line 1 column 10
            {"items": "x"}
              external metrics API: invalid type: string "x", expected a sequence at line 1 column 13
            {"items": [{"value": "1", "timestamp": "yesterday"}]}
              external metrics API: "yesterday" is no time of RFC 3339 at line 1 column 51
            {"items": [{"value": "1", "timestamp": 5}]}
              external metrics API: invalid type: integer `5`, expected a string at line 1 column 40
            {"kind": "PodMetricsList", "items": [{"value": "1"}]}
              external metrics API: no kind "PodMetricsList" is registered for version ""
            {"kind": "List", "apiVersion": "v1", "items": [{"value": "1"}]}
              external metrics API: no kind "List" is registered for version "v1"
            {"kind": 5, "items": [{"value": "1"}]}
              external metrics API: invalid type: integer `5`, expected a string at line 1 column 10
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no such metric"}
              external metrics API: no such metric
            []
              external metrics API: invalid type: sequence, expected an object at line 1 column 0
            null
              external metrics API: invalid type: null, expected an object at line 1 column 4
            "x"
              external metrics API: invalid type: string "x", expected an object at line 1 column 3
            {"items": [{"value": NaN}]}
              external metrics API: expected value at line 1 column 22

              external metrics API: EOF while parsing a value at line 1 column 0
        "#]],
    );
}

#[test]
fn values_of_pods_and_objects_are_quantities() {
    check_answers(
        "Pods",
        &[
            r#"{"items": [{"describedObject": {"name": "p0"}, "value": "5", "timestamp": "1970-01-01T00:00:09Z"}]}"#,
            r#"{"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": 7}]}"#,
            r#"{"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": null}]}"#,
            r#"{"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": "7"}]}"#,
            r#"{"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": 7.5}]}"#,
            r#"{"items": [{"describedObject": {"name": 5}, "value": "5"}]}"#,
            r#"{"items": [{"describedObject": "p0", "value": "5"}]}"#,
            r#"{"items": [{"describedObject": {"name": "p0"}, "value": "5x"}]}"#,
        ],
        expect![[r#"
            {"items": [{"describedObject": {"name": "p0"}, "value": "5", "timestamp": "1970-01-01T00:00:09Z"}]}
              p0=5000 at 9 in 60
            {"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": 7}]}
              p0=5000 at 0 in 7
            {"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": null}]}
              p0=5000 at 0 in 60
            {"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": "7"}]}
              custom metrics API: invalid type: string "7", expected i64 at line 1 column 81
            {"items": [{"describedObject": {"name": "p0"}, "value": "5", "windowSeconds": 7.5}]}
              custom metrics API: invalid type: floating point `7.5`, expected i64 at line 1 column 81
            {"items": [{"describedObject": {"name": 5}, "value": "5"}]}
              custom metrics API: invalid type: integer `5`, expected a string at line 1 column 41
            {"items": [{"describedObject": "p0", "value": "5"}]}
              custom metrics API: invalid type: string "p0", expected an object at line 1 column 35
            {"items": [{"describedObject": {"name": "p0"}, "value": "5x"}]}
              custom metrics API: not a quantity at line 1 column 60
        "#]],
    );
    check_answers(
        "Object",
        &[
            r#"{"items": [{"value": "5"}]}"#,
            r#"{"items": []}"#,
            r#"{"items": [{"value": "5"}, {"value": "5"}]}"#,
            r#"{"items": [{"value": "x"}]}"#,
            r#"{"items": [null]}"#,
        ],
        expect![[r#"
            {"items": [{"value": "5"}]}
              5000
            {"items": []}
              custom metrics API: the custom metrics API server returned 0 results when we asked for exactly one
            {"items": [{"value": "5"}, {"value": "5"}]}
              custom metrics API: the custom metrics API server returned 2 results when we asked for exactly one
            {"items": [{"value": "x"}]}
              custom metrics API: not a quantity at line 1 column 24
            {"items": [null]}
              custom metrics API: invalid type: null, expected an object at line 1 column 15
        "#]],
    );
}

#[test]
fn usages_of_containers_are_quantities() {
    let item = |item: &str| format!("{OF_POD}{item}}}]}}");
    let answers: Vec<String> = [
        r#""window": "15.5s", "timestamp": "1970-01-01T00:00:09.5+00:00", "containers": [{"name": "c", "usage": {"cpu": "5m"}}]"#,
        r#""containers": [{"name": "c", "usage": {"cpu": "5m"}}, {"name": "d", "usage": {"cpu": "6m"}}]"#,
        r#""containers": [{"name": "c", "usage": {"cpu": "5m"}}, {"name": "d", "usage": {}}]"#,
        r#""containers": null"#,
        r#""containers": [{"name": "c", "usage": {"cpu": "9223372036854775807"}}, {"name": "d", "usage": {"cpu": "1"}}]"#,
        r#""containers": [{"name": "c", "usage": {"cpu": "x"}}]"#,
        r#""containers": [{"name": "c", "usage": {"cpu": "1", "memory": "x"}}]"#,
        r#""containers": [{"name": "c", "usage": [1]}]"#,
        r#""containers": [{"name": "c", "usage": {"cpu": null}}]"#,
        r#""containers": [null]"#,
        r#""containers": [{"name": 1, "usage": {"cpu": "1"}}]"#,
        r#""containers": "x""#,
        r#""window": "-x""#,
        r#""window": 15"#,
        r#""timestamp": """#,
    ]
    .iter()
    .map(|text| item(text))
    .chain([r#"{"items": [{"metadata": 3}]}"#.to_owned(), r#"{"items": [{"containers": []}]}"#.to_owned()])
    .collect();
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    check_answers(
        "Resource",
        &answers,
        expect![[r#"
        POD "window": "15.5s", "timestamp": "1970-01-01T00:00:09.5+00:00", "containers": [{"name": "c", "usage": {"cpu": "5m"}}]}]}
          p0=5 at 9 in 15
        POD "containers": [{"name": "c", "usage": {"cpu": "5m"}}, {"name": "d", "usage": {"cpu": "6m"}}]}]}
          p0=11 at 0 in 0
        POD "containers": [{"name": "c", "usage": {"cpu": "5m"}}, {"name": "d", "usage": {}}]}]}
          no samples
        POD "containers": null}]}
          no samples
        POD "containers": [{"name": "c", "usage": {"cpu": "9223372036854775807"}}, {"name": "d", "usage": {"cpu": "1"}}]}]}
          p0=9223372036854775807 at 0 in 0
        POD "containers": [{"name": "c", "usage": {"cpu": "x"}}]}]}
          resource metrics API: not a quantity at line 1 column 89
        POD "containers": [{"name": "c", "usage": {"cpu": "1", "memory": "x"}}]}]}
          resource metrics API: not a quantity at line 1 column 104
        POD "containers": [{"name": "c", "usage": [1]}]}]}
          resource metrics API: invalid type: sequence, expected a map at line 1 column 78
        POD "containers": [{"name": "c", "usage": {"cpu": null}}]}]}
          resource metrics API: invalid type: null, expected a quantity at line 1 column 90
        POD "containers": [null]}]}
          resource metrics API: invalid type: null, expected an object at line 1 column 59
        POD "containers": [{"name": 1, "usage": {"cpu": "1"}}]}]}
          resource metrics API: invalid type: integer `1`, expected a string at line 1 column 65
        POD "containers": "x"}]}
          resource metrics API: invalid type: string "x", expected a sequence at line 1 column 57
        POD "window": "-x"}]}
          resource metrics API: "-x" is no duration at line 1 column 55
        POD "window": 15}]}
          resource metrics API: invalid type: integer `15`, expected a string at line 1 column 52
        POD "timestamp": ""}]}
          resource metrics API: "" is no time of RFC 3339 at line 1 column 56
        {"items": [{"metadata": 3}]}
          resource metrics API: invalid type: integer `3`, expected an object at line 1 column 25
        {"items": [{"containers": []}]}
          resource metrics API: missing field `metadata` at line 1 column 29
    "#]],
    );
}

#[test]
fn one_container_is_the_first_of_its_name() {
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let metric = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "d", "target": target}});
    let answer = r#"{"items": [{"metadata": {"name": "p0"}, "containers": [{"name": "c", "usage": {}},
        {"name": "d", "usage": {"cpu": "1"}}, {"name": "d", "usage": {"cpu": "2"}}]}]}"#;
    let usage = Spec::read(&json!({"spec": {"metrics": [metric]}})).metrics[0].usage(Ok(answer.as_bytes()));
    let samples = [("p0".to_owned(), Sample { value: 1_000, at: 0, window: 0 })];
    assert_eq!(usage, Ok(Usage::Pods(samples.into())));
}

#[test]
fn what_is_told_of_an_answer_is_bounded() {
    let long = "é".repeat(200_000);
    for answer in [
        json!({"items": [{"value": "1", "timestamp": long}]}),
        json!({"items": long}),
        json!({"kind": long}),
        json!({"kind": "Status", "message": long}),
    ] {
        let why = read("External", &answer.to_string());
        assert!((100..2_200).contains(&why.len()), "{}", why.len());
    }
    assert_eq!(bounded(format!("a{}", "é".repeat(2_000))).len(), 2_047, "on the boundary of a character");
}

#[test]
fn a_scale_that_cannot_be_read_is_not_zero() {
    let scale = |replicas: Value| json!({"kind": "Scale", "spec": {"replicas": replicas}, "status": {"selector": "a=b"}});
    let read = |replicas| Scale::read(&scale(replicas)).map(|scale| scale.replicas);
    assert_eq!(read(json!(3)), Ok(3));
    assert_eq!(read(Value::Null), Ok(0));
    for replicas in [json!("3"), json!(3.5), json!(3_000_000_000i64), json!([])] {
        assert_eq!(read(replicas), Err("spec.replicas of the scale is no 32-bit integer".to_owned()));
    }
    for other in [
        json!({"kind": "Deployment", "spec": {"replicas": 3}}),
        json!([]),
        json!({"status": {"selector": {}}}),
    ] {
        assert!(Scale::read(&other).is_err(), "{other}");
    }
}
