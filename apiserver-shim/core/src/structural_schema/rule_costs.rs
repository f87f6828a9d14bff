//! The limits of what the rules of a definition may cost by their estimates, one by one and together.

use shim_model::field::FieldError;

/// The limit of one expression (upstream's `StaticEstimatedCostLimit`).
const EXPRESSION_MAX: u64 = 10_000_000;
/// The limit of all expressions of a schema (upstream's `StaticEstimatedCRDCostLimit`).
const SCHEMA_MAX: u64 = 100_000_000;
/// How many expressions are named if all together cost too much.
const NAMED_MAX: usize = 4;

/// What the estimates of a schema have come to.
#[derive(Debug, Default)]
pub(super) struct TotalCost {
    total: u64,
    /// The most expensive ones, each at least a hundredth of the limit.
    expensive: Vec<(u64, String)>,
}

impl TotalCost {
    fn add(&mut self, path: impl std::fmt::Display, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_MAX / 100 {
            self.expensive.push((cost, path.to_string()));
            self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(NAMED_MAX);
        }
    }

    /// The errors of a schema at `path` that costs too much.
    pub fn judge(self, path: &str, errors: &mut Vec<FieldError>) {
        if self.total <= SCHEMA_MAX {
            return;
        }
        for (_, path) in self.expensive {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, exceeds(what, self.total, SCHEMA_MAX)));
    }
}

/// The errors found so far, and the costs.
pub(super) struct Findings<'f> {
    pub errors: &'f mut Vec<FieldError>,
    pub costs: &'f mut TotalCost,
}

impl Findings<'_> {
    /// Counts the cost of an expression at `path`.
    pub fn cost(&mut self, path: impl std::fmt::Display, what: &str, cost: u64) {
        if cost == 0 {
            return;
        }
        if cost > EXPRESSION_MAX {
            let path = path.to_string();
            self.errors.push(FieldError::forbidden(path, exceeds(what, cost, EXPRESSION_MAX)));
        }
        self.costs.add(path, cost);
    }
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        // One decimal would say that it does not exceed the limit.
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_expensive_expressions_are_named() {
        let (mut errors, mut costs) = (Vec::new(), TotalCost::default());
        let mut found = Findings { errors: &mut errors, costs: &mut costs };
        for (at, cost) in
            [9_000_000, 12_000_000, 31_000_000, 2_000_000_000, 5, 10_000_000].into_iter().enumerate()
        {
            found.cost(format!("rules[{at}]"), "estimated rule cost", cost);
        }
        costs.judge("schema", &mut errors);
        let advice = " (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
        let shown: Vec<String> = errors.iter().map(|error| error.to_string().replace(advice, "")).collect();
        assert_eq!(
            shown,
            [
                "rules[1]: Forbidden: estimated rule cost exceeds budget by factor of 1.200000x",
                "rules[2]: Forbidden: estimated rule cost exceeds budget by factor of 3.1x",
                "rules[3]: Forbidden: estimated rule cost exceeds budget by factor of more than 100x",
                "rules[3]: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                "rules[2]: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                "rules[1]: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                "rules[5]: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                "schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of 20.6x",
            ]
        );
    }
}
