//! What a validating policy decides about a request.

use serde_json::Value;
use shim_model::access;

use super::{Condition, Expression, Policy, PolicyInput};
use crate::cel::{Environment, MESSAGE_MAX, Val};

/// A validation of a policy.
#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message_expression: Option<Expression>,
    message: String,
    reason: String,
}

/// Why a validation denies a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The index of the validation.
    pub index: usize,
    /// What is wrong.
    pub message: String,
    /// The reason of the status, such as `Invalid`.
    pub reason: String,
}

/// The result of a policy for one set of parameters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// The validations that deny the request.
    pub denied: Vec<Decision>,
    /// Annotations of the audit event.
    pub annotations: Vec<(String, String)>,
    /// Errors of annotations, which deny the request whatever the binding's actions are.
    pub failed_annotations: Vec<String>,
}

pub(super) fn compile(spec: &Value, environment: &Environment, messages: &Environment) -> Vec<Validation> {
    let text = |value: &Value, member: &str| access::text(value, &[member]).to_owned();
    let validation = |validation: &Value| {
        let message = text(validation, "messageExpression");
        Validation {
            expression: Expression::compile(&text(validation, "expression"), environment, &["bool"]),
            message_expression: (!message.trim().is_empty())
                .then(|| Expression::compile(&message, messages, &["string"])),
            message: text(validation, "message"),
            reason: text(validation, "reason"),
        }
    };
    access::list(spec, &["validations"]).iter().map(validation).collect()
}

impl Policy {
    /// Evaluates the policy.
    pub fn validate(&self, input: &PolicyInput<'_>) -> Validated {
        let activation = self.activation(input);
        let mut result = Validated::default();
        let fail = |result: &mut Validated, index: usize, message: String| {
            if !self.ignores_failures {
                result.denied.push(Decision { index, message, reason: "Invalid".to_owned() });
            }
        };
        match self.conditions.evaluate(&activation) {
            Condition::Met => {}
            Condition::NotMet => return result,
            Condition::Failed(message) => {
                fail(&mut result, 0, message);
                return result;
            }
        }
        let mut budget = Policy::budget();
        for (index, validation) in self.validations.iter().enumerate() {
            match budget.evaluate(&validation.expression, &activation) {
                Err(message) => {
                    result.denied.clear();
                    fail(&mut result, index, message);
                    return result;
                }
                Ok(Err(message)) => fail(&mut result, index, message),
                Ok(Ok(Val::Bool(true))) => {}
                Ok(Ok(_)) => {
                    let expression = validation.message_expression.as_ref();
                    let made = match expression.map(|expression| budget.evaluate(expression, &activation)) {
                        Some(Err(error)) => {
                            fail(&mut result, index, format!("failed messageExpression: {error}"));
                            continue;
                        }
                        Some(Ok(Ok(made))) => made.as_text().map(|text| text.trim().to_owned()),
                        Some(Ok(Err(_))) | None => None,
                    };
                    let message = validation.message_for(made);
                    let reason = if validation.reason.is_empty() { "Invalid" } else { &validation.reason };
                    result.denied.push(Decision { index, message, reason: reason.to_owned() });
                }
            }
        }
        let mut budget = Policy::budget();
        for (key, annotation) in &self.annotations {
            match budget.evaluate(annotation, &activation) {
                Ok(Ok(Val::Null)) => {}
                Ok(Ok(value)) => match value.as_text().map(str::trim) {
                    Some("") => {}
                    Some(text) => result.annotations.push((key.clone(), text.to_owned())),
                    None => result.failed_annotations.push(format!(
                        "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                        annotation.source,
                        value.type_name()
                    )),
                },
                Ok(Err(error)) | Err(error) if !self.ignores_failures => result.failed_annotations.push(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        result
    }
}

impl Validation {
    fn message_for(&self, made: Option<String>) -> String {
        let usable = |made: &String| !made.is_empty() && made.len() <= MESSAGE_MAX && !made.contains('\n');
        match made.filter(usable) {
            Some(made) => made,
            None if !self.message.is_empty() => self.message.trim().to_owned(),
            None => format!("failed expression: {}", self.expression.source.trim()),
        }
    }
}
