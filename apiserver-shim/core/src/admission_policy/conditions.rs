//! `matchConditions` of policies and webhooks.

use std::sync::LazyLock;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

use super::{Budget, Expression, PolicyInput, authorizer, environment, request_resource, with_authorizer};
use crate::cel::{Activation, Environment, MATCH_CONDITIONS_COST_MAX, Program, Type, Val};

/// Compiled conditions.
#[derive(Debug)]
pub struct MatchConditions(Vec<Expression>);

/// Whether a request matches conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All conditions are true.
    Met,
    /// One is false, whatever the others are.
    NotMet,
    /// None is false, but some could not be evaluated. The error is upstream's.
    Failed(String),
}

/// The values of the variables that all expressions may use.
pub(super) fn values<'v>(input: &PolicyInput<'v>) -> Vec<Val<'v>> {
    static TYPES: LazyLock<(Type, Type)> = LazyLock::new(|| {
        let environment = environment(false);
        (environment.type_of(2), environment.type_of(super::NAMESPACE))
    });
    vec![
        Val::of_json(input.object, &Type::Dyn),
        Val::of_json(input.old_object, &Type::Dyn),
        Val::of_json(input.request, &TYPES.0),
        Val::of_json(input.namespace, &TYPES.1),
    ]
}

/// The values of all variables: these, and those that ask about access.
pub(super) fn activation<'v>(mut values: Vec<Val<'v>>, input: &PolicyInput<'v>) -> Activation<'v> {
    values.extend([authorizer(), request_resource(input.authorizer)]);
    Activation::new(values).with_authorizer(Some(input.authorizer))
}

impl MatchConditions {
    /// Compiles the `matchConditions` of a webhook. Expressions that do not compile fail when they are evaluated.
    pub fn compile(webhook: &Value) -> MatchConditions {
        match access::list(webhook, &["matchConditions"]) {
            [] => MatchConditions(Vec::new()),
            _ => Self::with_environment(webhook, &with_authorizer(environment(false))),
        }
    }

    pub(super) fn with_environment(holder: &Value, environment: &Environment) -> MatchConditions {
        let compile = |condition: &Value| {
            let source = access::text(condition, &["expression"]);
            Expression::compile(source.trim(), environment, &["bool"])
        };
        MatchConditions(access::list(holder, &["matchConditions"]).iter().map(compile).collect())
    }

    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter()
    }

    /// Whether an expression asks about access.
    pub fn uses_authorizer(&self) -> bool {
        let first = super::NAMESPACE + 1;
        let uses = |program: &Program| program.uses(first) || program.uses(first + 1);
        self.0.iter().any(|expression| expression.program.as_ref().is_ok_and(uses))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The errors of the expressions; `prefix` is the path of the holder with a dot.
    pub fn errors(&self, prefix: &str) -> Vec<FieldError> {
        let errors = self.0.iter().enumerate().filter_map(|(at, condition)| {
            condition.error(format!("{prefix}matchConditions[{at}].expression"))
        });
        errors.filter(|error| error.shown != "\"\"").collect()
    }

    /// Evaluates the conditions of a webhook.
    pub fn matches(&self, input: &PolicyInput<'_>) -> Condition {
        self.evaluate(&activation(values(input), input))
    }

    pub(super) fn evaluate(&self, activation: &Activation<'_>) -> Condition {
        let mut budget = Budget(MATCH_CONDITIONS_COST_MAX);
        let mut errors = Vec::new();
        for condition in &self.0 {
            match budget.evaluate(condition, activation) {
                Ok(Ok(Val::Bool(true))) => {}
                // One that is not met prevails over errors of others.
                Ok(Ok(_)) => return Condition::NotMet,
                Ok(Err(error)) => errors.push(error),
                Err(error) => return Condition::Failed(error),
            }
        }
        match errors.len() {
            0 => Condition::Met,
            1 => Condition::Failed(errors.remove(0)),
            _ => Condition::Failed(format!("[{}]", errors.join(", "))),
        }
    }
}
