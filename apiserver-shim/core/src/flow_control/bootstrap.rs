//! The default FlowSchemas and PriorityLevelConfigurations: what they are, and how they are kept. The mandatory ones have the
//! default spec; the suggested ones keep a spec that somebody has changed.

use serde_json::Value;
use shim_model::access;

use super::GROUP;

/// The annotation that says whether the spec is kept at the default.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The name of the mandatory schema and level of requests without limits.
pub const EXEMPT: &str = "exempt";
/// The name of the mandatory schema and level of what matches nothing else.
pub const CATCH_ALL: &str = "catch-all";

/// One object a line: `kind`, `name` and `spec`; levels before schemas.
const DEFAULTS: &str = include_str!("../../data/flow_control_defaults.jsonl");

/// A default object.
#[derive(Debug, Clone)]
pub struct DefaultObject {
    /// The plural of its resource.
    pub plural: &'static str,
    /// The object.
    pub object: Value,
}

/// All default objects; levels before schemas.
pub fn defaults() -> Vec<DefaultObject> {
    DEFAULTS.lines().map(default_object).collect()
}

fn default_object(line: &str) -> DefaultObject {
    let row: Value = serde_json::from_str(line).expect("invariant: each line of the table is an object");
    let plural = match access::text(&row, &["kind"]) {
        "FlowSchema" => "flowschemas",
        _ => "prioritylevelconfigurations",
    };
    let object = serde_json::json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": row["kind"],
        "metadata": {"name": row["name"], "annotations": {AUTO_UPDATE: "true"}},
        "spec": row["spec"],
    });
    DefaultObject { plural, object }
}

/// The default object of this resource and name.
pub fn default_named(plural: &str, name: &str) -> Option<Value> {
    let mut all = defaults().into_iter();
    all.find(|each| each.plural == plural && each.object["metadata"]["name"] == name).map(|each| each.object)
}

/// The spec of a default object.
pub(super) fn default_spec(kind: &str, name: &str) -> Option<Value> {
    let mut all = defaults().into_iter().map(|each| each.object);
    all.find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .map(|mut object| object["spec"].take())
}

/// What to do about an object that exists, default or not.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Upkeep {
    /// Nothing.
    Keep,
    /// Set the annotation to this value and, if there is one, the spec.
    Update { auto_update: bool, spec: Option<Value> },
    /// Delete it: an earlier version had it.
    Remove,
}

/// Compares an object with the default of its name.
pub fn upkeep(found: &Value, default: Option<&Value>) -> Upkeep {
    let annotation = access::text(found, &["metadata", "annotations", AUTO_UPDATE]);
    let said = match annotation {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    };
    let Some(default) = default else {
        return if said == Some(true) { Upkeep::Remove } else { Upkeep::Keep };
    };
    let name = access::text(default, &["metadata", "name"]);
    let mandatory = name == EXEMPT || name == CATCH_ALL;
    let unchanged = access::int(found, &["metadata", "generation"]) == Some(1);
    let auto_update = mandatory || said.unwrap_or(unchanged);
    let mut spec = default["spec"].clone();
    // The shares of the exempt level are the administrator's.
    let own = Some(&found["spec"]["exempt"]).filter(|own| name == EXEMPT && own.is_object());
    if let (Some(own), Some(_)) = (own, spec.get("exempt")) {
        spec["exempt"] = own.clone();
    }
    let spec = (auto_update && spec != found["spec"]).then_some(spec);
    match said == Some(auto_update) && spec.is_none() {
        true => Upkeep::Keep,
        false => Upkeep::Update { auto_update, spec },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_kept_as_upstream() {
        let all = defaults();
        assert_eq!((all.len(), all.iter().filter(|d| d.plural == "flowschemas").count()), (19, 11));
        for default in &all {
            assert_eq!(upkeep(&default.object, Some(&default.object)), Upkeep::Keep);
        }
        let suggested = default_named("flowschemas", "service-accounts").unwrap();
        let mut changed = suggested.clone();
        changed["spec"]["matchingPrecedence"] = json!(1);
        let spec = Some(suggested["spec"].clone());
        assert_eq!(upkeep(&changed, Some(&suggested)), Upkeep::Update { auto_update: true, spec });
        changed["metadata"]["annotations"] = json!({AUTO_UPDATE: "false"});
        assert_eq!(upkeep(&changed, Some(&suggested)), Upkeep::Keep);
        changed["metadata"] = json!({"name": "service-accounts", "generation": 2});
        assert_eq!(upkeep(&changed, Some(&suggested)), Upkeep::Update { auto_update: false, spec: None });
        let mut exempt = default_named("prioritylevelconfigurations", EXEMPT).unwrap();
        let default = exempt.clone();
        exempt["spec"]["exempt"]["nominalConcurrencyShares"] = json!(5);
        assert_eq!(upkeep(&exempt, Some(&default)), Upkeep::Keep);
        exempt["spec"]["type"] = json!("Limited");
        assert!(matches!(
            upkeep(&exempt, Some(&default)),
            Upkeep::Update { auto_update: true, spec: Some(_) }
        ));
        assert_eq!(upkeep(&suggested, None), Upkeep::Remove);
        assert_eq!(upkeep(&json!({"metadata": {"name": "own"}}), None), Upkeep::Keep);
    }
}
