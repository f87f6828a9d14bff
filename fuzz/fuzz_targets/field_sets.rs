//! Sets of fields as `metadata.managedFields` has them. The input is one set, or several in a JSON list. A set is printed to
//! a text that parses to the same set, and the operations on two sets agree with each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shim_model::managed_fields::FieldSet;

fn algebra(a: &FieldSet, b: &FieldSet) {
    let (both, all) = (a.intersection(b), a.union(b));
    assert_eq!(both, b.intersection(a));
    assert_eq!(all, b.union(a));
    assert_eq!(all.union(a), all);
    assert_eq!(all.intersection(a), *a);
    let only = a.difference(b);
    assert!(only.intersection(b).is_empty());
    assert_eq!(only.union(&both), *a, "what is only in one and what is in both is the whole");
    assert!(a.recursive_difference(b).difference(&only).is_empty());
    for path in a.paths() {
        assert!(a.has(&path) && all.has(&path));
        assert_eq!(b.has(&path), both.has(&path));
        assert_eq!(!b.has(&path), only.has(&path));
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    let list = if let Value::Array(list) = value { list } else { vec![value] };
    let sets: Vec<FieldSet> = list.iter().filter_map(FieldSet::parse).collect();
    for set in &sets {
        let printed = set.to_value();
        assert_eq!(FieldSet::parse(&printed).as_ref(), Some(set), "{printed}");
        let mut copy = FieldSet::default();
        set.paths().iter().for_each(|path| copy.insert(path));
        assert_eq!(copy, *set, "a set is its paths");
    }
    if let [a, b, ..] = &sets[..] {
        algebra(a, b);
        algebra(b, a);
    }
});
