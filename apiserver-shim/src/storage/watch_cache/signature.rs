//! Signatures: Bloom filters over the labels and selectable fields of cached objects.
//!
//! They stand beside the keys of the cache, so a LIST with a selector walks contiguous memory and touches only objects
//! that may match. Without them, each object costs four cache misses. A false positive costs a comparison of the
//! object itself; there are no false negatives.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use shim_model::selector::{LabelSelector, Operator};

use crate::storage::object::Object;
use crate::storage::selection::Selection;

/// Bits of a filter: 128. An object with five labels sets at most 20 of them, so that a pair that it does not have
/// passes in 2 of 100 cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Filter([u64; 2]);

/// What the bits of a filter stand for.
#[derive(Hash)]
enum Member<'a> {
    LabelKey(&'a str),
    Label(&'a str, &'a str),
    Field(&'a str, &'a str),
}

impl Filter {
    /// The two bits of one member.
    fn of(member: &Member<'_>) -> Filter {
        let mut hasher = DefaultHasher::new();
        member.hash(&mut hasher);
        let hash = hasher.finish();
        let bit = |shift: u32| 1u128 << ((hash >> shift) & 127);
        let bits = bit(0) | bit(7);
        Filter([bits as u64, (bits >> 64) as u64])
    }

    fn add(&mut self, other: Filter) {
        self.0[0] |= other.0[0];
        self.0[1] |= other.0[1];
    }

    fn contains(&self, other: &Filter) -> bool {
        self.0[0] & other.0[0] == other.0[0] && self.0[1] & other.0[1] == other.0[1]
    }
}

/// The filters of one object.
#[derive(Debug)]
pub struct Signature {
    labels: Filter,
    /// Extracting the fields of some kinds decodes the object, so it is left to the first selector that needs them.
    fields: OnceLock<Filter>,
}

impl Signature {
    /// The signature of an object.
    pub fn of(object: &Object) -> Self {
        let mut labels = Filter::default();
        for (key, value) in &object.header().labels {
            labels.add(Filter::of(&Member::LabelKey(key)));
            labels.add(Filter::of(&Member::Label(key, value)));
        }
        Signature { labels, fields: OnceLock::new() }
    }

    fn fields(&self, object: &Object) -> &Filter {
        self.fields.get_or_init(|| {
            let mut fields = Filter::of(&Member::Field("metadata.name", object.name()));
            fields.add(Filter::of(&Member::Field("metadata.namespace", object.namespace())));
            for (field, value) in object.fields() {
                fields.add(Filter::of(&Member::Field(field, value)));
            }
            fields
        })
    }
}

/// What the signature of a selected object contains. Requirements that say what is absent are not in it.
#[derive(Debug, Default)]
pub struct Wanted {
    labels: Filter,
    /// For each requirement with several values, one filter a value.
    alternatives: Vec<Vec<Filter>>,
    fields: Option<Filter>,
}

impl Wanted {
    /// The filter of a selection.
    pub fn of(selection: &Selection) -> Self {
        let mut wanted = Wanted::default();
        wanted.add_labels(selection.labels());
        for term in &selection.fields().terms {
            // An absent field equals the empty value.
            if term.equal && !term.value.is_empty() {
                let filter = Filter::of(&Member::Field(&term.field, &term.value));
                wanted.fields.get_or_insert_default().add(filter);
            }
        }
        wanted
    }

    fn add_labels(&mut self, selector: &LabelSelector) {
        for requirement in selector.requirements() {
            let pair = |value: &String| Filter::of(&Member::Label(&requirement.key, value));
            match (requirement.operator, requirement.values.as_slice()) {
                (Operator::NotIn | Operator::DoesNotExist, _) => {}
                (Operator::In, [value]) => self.labels.add(pair(value)),
                (Operator::In, values) => self.alternatives.push(values.iter().map(pair).collect()),
                (Operator::Exists | Operator::Greater | Operator::Less, _) => {
                    self.labels.add(Filter::of(&Member::LabelKey(&requirement.key)));
                }
            }
        }
    }

    /// Whether the object may be selected; if not, it is not.
    pub fn may_match(&self, signature: &Signature, object: &Object) -> bool {
        signature.labels.contains(&self.labels)
            && self.alternatives.iter().all(|any| any.iter().any(|one| signature.labels.contains(one)))
            && self.fields.as_ref().is_none_or(|wanted| signature.fields(object).contains(wanted))
    }
}

#[cfg(test)]
mod tests;
