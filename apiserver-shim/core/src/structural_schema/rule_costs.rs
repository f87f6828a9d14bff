//! The bounds of what the rules of a CustomResourceDefinition may cost: each of them, and all together.

use std::fmt;

use shim_model::field::FieldError;

/// The most that one rule may cost.
const RULE_MAX: u64 = 10_000_000;
/// The most that all rules of a schema may cost.
const SCHEMA_MAX: u64 = 100_000_000;
/// How many of the most expensive rules are named.
const NAMED_MAX: usize = 4;

/// The costs of the rules of a schema.
#[derive(Debug, Default)]
pub(super) struct RuleCosts {
    /// Whether rules are not bounded one by one: the schema is stored already.
    unchanged: bool,
    total: u64,
    /// The most expensive rules, the dearest first.
    most_expensive: Vec<(String, u64)>,
}

impl RuleCosts {
    /// No costs; `unchanged` says whether the schema is stored already.
    pub fn new(unchanged: bool) -> RuleCosts {
        RuleCosts { unchanged, ..RuleCosts::default() }
    }

    /// Notes the cost of an expression.
    pub fn observe(&mut self, field: impl fmt::Display, what: &str, cost: u64, errors: &mut Vec<FieldError>) {
        if !self.unchanged && cost > RULE_MAX {
            let why = exceeded(&format!("estimated {what} cost"), cost, RULE_MAX);
            errors.push(FieldError::forbidden(&field, why));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_MAX / 100 {
            self.most_expensive.push((field.to_string(), cost));
            self.most_expensive.sort_by(|(_, a), (_, b)| b.cmp(a));
            self.most_expensive.truncate(NAMED_MAX);
        }
    }

    /// The errors of the sum; `schema` is the path of the whole schema.
    pub fn errors(&self, schema: impl fmt::Display) -> Vec<FieldError> {
        if self.total <= SCHEMA_MAX {
            return Vec::new();
        }
        let contributed =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let named = self.most_expensive.iter();
        let mut errors: Vec<FieldError> =
            named.map(|(field, _)| FieldError::forbidden(field, contributed)).collect();
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(schema, exceeded(what, self.total, SCHEMA_MAX)));
        errors
    }
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        _ if factor > 100.0 => "more than 100x".to_owned(),
        _ if factor < 1.5 => format!("{factor:.6}x"),
        _ => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
