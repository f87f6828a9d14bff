//! The changes that a mutating policy makes.

use serde_json::{Value, json};
use shim_model::access;

use super::{Condition, Expression, Policy, PolicyInput};
use crate::cel::{Environment, Val};

/// A mutation of a policy.
#[derive(Debug)]
pub(super) struct MutationExpression {
    is_patch: bool,
    pub expression: Expression,
}

impl MutationExpression {
    pub fn member(&self) -> &'static str {
        if self.is_patch { "jsonPatch" } else { "applyConfiguration" }
    }
}

/// A change to make.
#[derive(Debug, Clone, PartialEq)]
pub enum Mutation {
    /// A configuration to merge as server-side apply does.
    Configuration(Value),
    /// The operations of a JSON patch.
    Patch(Vec<Value>),
}

/// What a mutation of a policy results in.
#[derive(Debug, Clone, PartialEq)]
pub enum Mutated {
    /// The policy does not apply.
    NotMatched,
    /// A change.
    Change(Mutation),
    /// An error.
    Failed(String),
}

pub(super) fn compile(spec: &Value, environment: &Environment) -> Vec<MutationExpression> {
    let mutation = |mutation: &Value| {
        let is_patch = access::text(mutation, &["patchType"]) == "JSONPatch";
        let member = if is_patch { "jsonPatch" } else { "applyConfiguration" };
        let source = access::text(mutation, &[member, "expression"]);
        let wanted: &[&str] = if is_patch { &["list(JSONPatch)"] } else { &["Object"] };
        MutationExpression { is_patch, expression: Expression::compile(source, environment, wanted) }
    };
    access::list(spec, &["mutations"]).iter().map(mutation).collect()
}

impl Policy {
    /// The number of its mutations.
    pub fn mutations(&self) -> usize {
        self.mutations.len()
    }

    /// Evaluates one mutation, on the object as the mutations before have left it. Match conditions are evaluated with the
    /// first.
    pub fn mutate(&self, index: usize, input: &PolicyInput<'_>) -> Mutated {
        let activation = self.activation(input);
        if index == 0 {
            match self.conditions.evaluate(&activation) {
                Condition::Met => {}
                Condition::NotMet => return Mutated::NotMatched,
                Condition::Failed(error) => return Mutated::Failed(error),
            }
        }
        let Some(mutation) = self.mutations.get(index) else { return Mutated::NotMatched };
        let value = match Policy::budget().evaluate(&mutation.expression, &activation) {
            Ok(Ok(value)) => value,
            Ok(Err(error)) | Err(error) => return Mutated::Failed(error),
        };
        match mutation.is_patch {
            true => operations(&value)
                .map_or_else(Mutated::Failed, |patch| Mutated::Change(Mutation::Patch(patch))),
            false => match value.to_json().filter(Value::is_object) {
                Some(configuration) => Mutated::Change(Mutation::Configuration(configuration)),
                None => Mutated::Failed(format!(
                    "unsupported return type from ApplyConfiguration expression: {}",
                    value.type_name()
                )),
            },
        }
    }
}

/// The operations of a JSON patch as the `patch` code takes them.
fn operations(value: &Val<'_>) -> Result<Vec<Value>, String> {
    let Some(Value::Array(operations)) = value.to_json() else {
        return Err("JSONPatch expression must evaluate to a list of JSONPatch".to_owned());
    };
    let operation = |operation: Value| {
        let text = |member: &str| operation.get(member).cloned().unwrap_or_else(|| "".into());
        let mut out = json!({"op": text("op"), "path": text("path")});
        if let Some(from) = operation.get("from") {
            out["from"] = from.clone();
        }
        if let Some(value) = operation.get("value") {
            out["value"] = value.clone();
        }
        out
    };
    Ok(operations.into_iter().map(operation).collect())
}
