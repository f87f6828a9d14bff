//! Label and field selectors: what parses prints to a text that parses to the same selector, two selectors joined by a
//! comma (here two lines) match what both match, and a requirement and its negation never both match.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use shim_model::selector::{FieldSelector, LabelSelector, Operator, Requirement};

/// The labels of the first requirements, with their own values.
fn labels(selector: &LabelSelector) -> BTreeMap<String, String> {
    let label = |r: &Requirement| (r.key.clone(), r.values.first().cloned().unwrap_or_default());
    selector.requirements().iter().map(label).collect()
}

fn negated(requirement: &Requirement) -> Option<Requirement> {
    let operator = match requirement.operator {
        Operator::In => Operator::NotIn,
        Operator::NotIn => Operator::In,
        Operator::Exists => Operator::DoesNotExist,
        Operator::DoesNotExist => Operator::Exists,
        Operator::Greater | Operator::Less => return None,
    };
    Some(Requirement { operator, ..requirement.clone() })
}

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let fields = FieldSelector::parse(first);
    let (first, second) = (LabelSelector::parse(first), LabelSelector::parse(second));
    for selector in [&first, &second].into_iter().flatten() {
        assert_eq!(LabelSelector::parse(&selector.to_string()).as_ref(), Ok(selector));
        for requirement in selector.requirements() {
            let opposite = negated(requirement);
            let agree = |negated: Requirement| {
                requirement.matches(&labels(selector)) == negated.matches(&labels(selector))
            };
            assert!(!opposite.is_some_and(agree), "{requirement}");
        }
    }
    if let (Ok(first), Ok(second)) = (&first, &second)
        && !first.is_everything()
        && !second.is_everything()
    {
        let both = LabelSelector::parse(&format!("{first},{second}")).expect("two selectors are one");
        for labels in [labels(first), labels(second), labels(&both)] {
            assert_eq!(both.matches(&labels), first.matches(&labels) && second.matches(&labels));
        }
    }
    if let Ok(selector) = fields {
        assert_eq!(FieldSelector::parse(&selector.to_string()).as_ref(), Ok(&selector));
        for term in selector.terms.iter().filter(|term| term.equal) {
            assert!(selector.exact(&term.field).is_some());
        }
    }
});
