//! Mesos' `--acls` in JSON: the rules about users of tasks (`run_tasks`). Other rules are refused and not ignored.

use kernel_core::master::{Entity, RunAsPolicy, RunAsRule};
use serde_json::{Map, Value};

/// Why ACLs cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AclError {
    #[error("Invalid json format: {0}")]
    Json(String),
    #[error("expecting {0}")]
    Shape(&'static str),
    #[error("'{0}' is not supported: only 'permissive' and 'run_tasks' are")]
    Unsupported(String),
}

/// Parses `{"permissive": false, "run_tasks": [{"principals": {"values": ["p"]}, "users": {"type": "ANY"}}]}`.
pub fn parse_acls(json: &str) -> Result<RunAsPolicy, AclError> {
    let value: Value = serde_json::from_str(json).map_err(|error| AclError::Json(error.to_string()))?;
    let all = value.as_object().ok_or(AclError::Shape("an object"))?;
    let mut policy = RunAsPolicy::default();
    for (name, value) in all {
        match name.as_str() {
            "permissive" => {
                policy.permissive = value.as_bool().ok_or(AclError::Shape("a boolean for 'permissive'"))?;
            }
            "run_tasks" => {
                let rules = value.as_array().ok_or(AclError::Shape("a list for 'run_tasks'"))?;
                policy.rules = rules.iter().map(rule).collect::<Result<_, _>>()?;
            }
            other => return Err(AclError::Unsupported(other.to_owned())),
        }
    }
    Ok(policy)
}

fn rule(value: &Value) -> Result<RunAsRule, AclError> {
    let rule = value.as_object().ok_or(AclError::Shape("objects in 'run_tasks'"))?;
    known_members(rule, &["principals", "users"])?;
    Ok(RunAsRule { principals: entity(&value["principals"])?, users: entity(&value["users"])? })
}

fn entity(value: &Value) -> Result<Entity, AclError> {
    let entity = value.as_object().ok_or(AclError::Shape("'principals' and 'users' in each rule"))?;
    known_members(entity, &["type", "values"])?;
    match entity.get("type").map(|kind| kind.as_str()) {
        Some(Some("ANY")) => Ok(Entity::Any),
        Some(Some("NONE")) => Ok(Entity::None),
        Some(Some("SOME")) | None => {
            let values = entity.get("values").and_then(Value::as_array);
            let values = values.ok_or(AclError::Shape("'values' or the type ANY or NONE"))?;
            let names = values.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<_>>().map(Entity::Some).ok_or(AclError::Shape("names in 'values'"))
        }
        Some(_) => Err(AclError::Shape("the type SOME, ANY or NONE")),
    }
}

fn known_members(object: &Map<String, Value>, known: &[&str]) -> Result<(), AclError> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(AclError::Unsupported(name.clone())),
        None => Ok(()),
    }
}
