//! `matchConditions` of policies and webhooks.

use std::sync::LazyLock;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

use super::{AUTHORIZER, Budget, Expression, PolicyInput, environment};
use crate::authorization::RequestedResource;
use crate::cel::{Access, Activation, Environment, MATCH_CONDITIONS_COST_MAX, Opaque, Type, Val};

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
    let text = |path: &[&str]| access::text(input.request, path);
    let requested = RequestedResource {
        group: text(&["requestResource", "group"]),
        resource: text(&["requestResource", "resource"]),
        subresource: text(&["requestSubResource"]),
        namespace: text(&["namespace"]),
        name: text(&["name"]),
        fields: &[],
    };
    let opaque = |access: Access| Val::Opaque(Opaque::Access(access));
    vec![
        Val::of_json(input.object, &Type::Dyn),
        Val::of_json(input.old_object, &Type::Dyn),
        Val::of_json(input.request, &TYPES.0),
        Val::of_json(input.namespace, &TYPES.1),
        Val::of_json(input.params, &Type::Dyn),
        opaque(Access::authorizer(input.authorizer)),
        opaque(Access::of_request(input.authorizer, &requested)),
    ]
}

impl MatchConditions {
    /// Compiles the `matchConditions` of a webhook. Expressions that do not compile fail when they are evaluated.
    pub fn compile(webhook: &Value) -> MatchConditions {
        match access::list(webhook, &["matchConditions"]) {
            [] => MatchConditions(Vec::new()),
            _ => Self::with_environment(webhook, &environment(false)),
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

    /// Whether a condition asks what the user may do.
    pub fn uses_authorizer(&self) -> bool {
        self.0.iter().any(|condition| condition.uses(&AUTHORIZER))
    }

    /// Evaluates the conditions of a webhook.
    pub fn matches(&self, input: &PolicyInput<'_>) -> Condition {
        self.evaluate(&Activation::new(values(input)))
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
