//! Configurations that are accepted, and those that are rejected.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn decode(profiles: Value) -> Result<SchedulerConfiguration, ConfigurationError> {
    SchedulerConfiguration::decode(&json!({"apiVersion": API_VERSION, "kind": KIND, "profiles": profiles}))
}

fn refused(value: Value, expected: Expect) {
    let error = SchedulerConfiguration::decode(&value).expect_err("the configuration is refused");
    expected.assert_eq(&error.to_string());
}

fn refused_profiles(profiles: Value, expected: Expect) {
    refused(json!({"apiVersion": API_VERSION, "kind": KIND, "profiles": profiles}), expected);
}

/// The plugins at an extension point, with weights.
fn at(configuration: &SchedulerConfiguration, name: &str, point: ExtensionPoint) -> Vec<(&'static str, i64)> {
    let profile = configuration.profiles.get(configuration.profiles.find(name).unwrap());
    let plugins = profile.at(point).iter();
    plugins.map(|plugin| (profile.plugin(*plugin).name(), profile.weight(*plugin))).collect()
}

#[test]
fn profiles_choose_plugins_and_weights() {
    let configuration = decode(json!([
        {},
        {"schedulerName": "packed", "plugins": {
            "multiPoint": {"disabled": [{"name": "NodePorts"}]},
            "score": {
                "disabled": [{"name": "*"}],
                "enabled": [{"name": "NodeResourcesFit", "weight": 7}, {"name": "TaintToleration"}],
            },
            "postFilter": {"disabled": [{"name": "DefaultPreemption"}]},
        }},
    ]))
    .unwrap();
    let score = |name| at(&configuration, name, ExtensionPoint::Score);
    assert_eq!(
        score("default-scheduler"),
        [("TaintToleration", 3), ("SelectorSpread", 2), ("NodeResourcesFit", 1)]
    );
    assert_eq!(score("packed"), [("NodeResourcesFit", 7), ("TaintToleration", 3)]);
    let filters = at(&configuration, "packed", ExtensionPoint::Filter);
    assert!(filters.iter().all(|(name, _)| *name != "NodePorts") && filters.len() == 8, "{filters:?}");
    assert!(at(&configuration, "packed", ExtensionPoint::PostFilter).is_empty());
    assert_eq!(configuration.profiles.find("theirs"), None);
}

#[test]
fn an_empty_configuration_is_the_default() {
    let value = json!({"apiVersion": API_VERSION, "kind": KIND, "podMaxBackoffSeconds": 20});
    let configuration = SchedulerConfiguration::decode(&value).unwrap();
    assert_eq!(configuration.profiles.find("default-scheduler"), Some(0));
    let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(20) };
    assert_eq!(configuration.backoff, backoff);
}

#[test]
fn errors_name_the_invalid_member() {
    refused(json!([]), expect!["the configuration: expected an object"]);
    refused(
        json!({"apiVersion": "v1", "kind": "Pod"}),
        expect!["expected KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1, found Pod of v1"],
    );
    refused(
        json!({"apiVersion": API_VERSION, "kind": KIND, "extenders": []}),
        expect!["extenders: unknown, or not supported by this scheduler"],
    );
    refused(
        json!({"apiVersion": API_VERSION, "kind": KIND, "podInitialBackoffSeconds": 30}),
        expect!["podInitialBackoffSeconds must be positive and at most podMaxBackoffSeconds"],
    );
    refused_profiles(
        json!([{"plugins": {"filter": {"enabled": [{"name": "NodeVolumeLimits"}]}}}]),
        expect![[
            r#"profile "default-scheduler": unknown plugin "NodeVolumeLimits"; known are SchedulingGates, PrioritySort, UnsupportedConstraints, NodeName, NodeUnschedulable, NodeRuntime, TaintToleration, NodeAffinity, NodePorts, SelectorSpread, NodeResourcesFit, VolumeBinding, DynamicResources, DefaultPreemption, KernelOffers"#
        ]],
    );
    refused_profiles(
        json!([{"plugins": {"score": {"enabled": [{"name": "NodePorts"}]}}}]),
        expect![[r#"profile "default-scheduler": plugin "NodePorts" does not implement score"#]],
    );
    refused_profiles(
        json!([{"plugins": {"filter": {"disabled": [{"name": "*"}]}}}]),
        expect![[r#"profile "default-scheduler": plugin "NodeName" cannot be disabled"#]],
    );
    refused_profiles(
        json!([{"plugins": {"queueSort": {"disabled": [{"name": "PrioritySort"}]}}}]),
        expect![[
            r#"profile "default-scheduler": exactly one queueSort plugin must be enabled, the same in all profiles"#
        ]],
    );
    refused_profiles(
        json!([{"plugins": {"score": {"enabled": [{"name": "NodeResourcesFit", "weight": 0}]}}}]),
        expect![[
            r#"profile "default-scheduler": weight 0 of plugin "NodeResourcesFit" is not between 1 and 1441151880758"#
        ]],
    );
    refused_profiles(
        json!([{"schedulerName": "a"}, {"schedulerName": "a"}]),
        expect![[r#"profiles: two profiles have schedulerName "a""#]],
    );
    refused_profiles(json!([]), expect!["profiles: there must be a profile, and each needs a schedulerName"]);
    refused_profiles(
        json!([{"percentageOfNodesToScore": 5}]),
        expect!["profiles[0].percentageOfNodesToScore: unknown, or not supported by this scheduler"],
    );
    refused_profiles(
        json!([{"plugins": {"bind": {"enabled": []}}}]),
        expect!["profiles[0].plugins.bind: unknown, or not supported by this scheduler"],
    );
    refused_profiles(
        json!([{"plugins": {"score": {"enabled": [{"name": 1}]}}}]),
        expect!["profiles[0].plugins.score.enabled[0].name: expected a string"],
    );
}
