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
    /// Whether a request meets the match conditions.
    pub fn meets_conditions(&self, input: &PolicyInput<'_>) -> Condition {
        self.conditions.evaluate(&self.activation(input))
    }

    /// Evaluates one mutation, on the object as the mutations before have left it; `None` behind the last one.
    ///
    /// # Errors
    /// Why the expression has no usable value, in upstream's words.
    pub fn mutate(&self, index: usize, input: &PolicyInput<'_>) -> Option<Result<Mutation, String>> {
        let mutation = self.mutations.get(index)?;
        Some(self.evaluate_mutation(mutation, input))
    }

    fn evaluate_mutation(
        &self,
        mutation: &MutationExpression,
        input: &PolicyInput<'_>,
    ) -> Result<Mutation, String> {
        let activation = self.activation(input);
        let value = Policy::budget().evaluate(&mutation.expression, &activation)??;
        if let Ok(program) = &mutation.expression.program
            && let misnamed @ [_, ..] = &program.misnamed_objects()[..]
        {
            return Err(format!("type mismatch: {}", misnamed.join("\n")));
        }
        if mutation.is_patch {
            return operations(&value).map(Mutation::Patch);
        }
        match value.to_json().filter(Value::is_object) {
            Some(configuration) => Ok(Mutation::Configuration(configuration)),
            None => {
                let found = value.type_name();
                Err(format!("unsupported return type from ApplyConfiguration expression: {found}"))
            }
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
