//! Sum, difference and containment. Mesos' rule decides what merges (upstream: `common/resources.cpp`): resources merge
//! if they agree in everything but the amount; indivisible ones never merge.

use std::{cmp::Ordering, ops::AddAssign, sync::Arc};

use super::{Disk, Ranges, Reservation, Resource, Resources, Scalar, Value};
use crate::{labels::Labels, roles::Role};

impl Value {
    fn rank(&self) -> u8 {
        match self {
            Value::Scalar(_) => 0,
            Value::Ranges(_) => 1,
            Value::Set(_) => 2,
        }
    }

    /// Whether the amount is zero or empty.
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Scalar(amount) => *amount <= Scalar::ZERO,
            Value::Ranges(ranges) => ranges.is_empty(),
            Value::Set(items) => items.is_empty(),
        }
    }

    /// Whether `other`, of the same type, is part of it.
    fn contains(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Scalar(a), Value::Scalar(b)) => a >= b,
            (Value::Ranges(a), Value::Ranges(b)) => a == b || a.contains(b),
            (Value::Set(a), Value::Set(b)) => a.is_superset(b),
            _ => false,
        }
    }

    fn add(&mut self, other: &Value) {
        match (self, other) {
            (Value::Scalar(a), Value::Scalar(b)) => *a += *b,
            (Value::Ranges(a), Value::Ranges(b)) => *a = a.union(b),
            (Value::Set(a), Value::Set(b)) => a.extend(b.iter().cloned()),
            _ => {}
        }
    }

    fn subtract(&mut self, other: &Value) {
        match (self, other) {
            (Value::Scalar(a), Value::Scalar(b)) => *a = (*a - *b).max(Scalar::ZERO),
            (Value::Ranges(a), Value::Ranges(b)) if a == b => *a = Ranges::default(),
            (Value::Ranges(a), Value::Ranges(b)) => *a = a.difference(b),
            (Value::Set(a), Value::Set(b)) => a.retain(|item| !b.contains(item)),
            _ => {}
        }
    }
}

/// Labels are a multiset: their order is ignored.
fn cmp_labels(a: &Labels, b: &Labels) -> Ordering {
    if a.as_slice().len() <= 1 && b.as_slice().len() <= 1 {
        return a.as_slice().cmp(b.as_slice());
    }
    let sorted = |labels: &Labels| {
        let mut labels = labels.as_slice().to_vec();
        labels.sort();
        labels
    };
    sorted(a).cmp(&sorted(b))
}

fn cmp_reservations(a: &[Reservation], b: &[Reservation]) -> Ordering {
    let mut order = a.len().cmp(&b.len());
    for (x, y) in a.iter().zip(b) {
        if order != Ordering::Equal {
            break;
        }
        order = (x.kind, &x.role, &x.principal)
            .cmp(&(y.kind, &y.role, &y.principal))
            .then_with(|| cmp_labels(&x.labels, &y.labels));
    }
    order
}

impl Resource {
    /// Whether it can only be used whole. Equal indivisible resources are listed separately and counted.
    pub fn is_indivisible(&self) -> bool {
        let whole = |disk: &Arc<Disk>| {
            disk.persistence.is_some() || disk.source.as_ref().is_some_and(|source| source.whole)
        };
        self.shared || self.disk.as_ref().is_some_and(whole)
    }

    /// The order of the normal form. `Equal` means that the amounts merge, or that two indivisible resources are the
    /// same.
    fn cmp_kind(&self, other: &Resource) -> Ordering {
        if !Arc::ptr_eq(&self.name, &other.name) {
            let order = self.name.cmp(&other.name);
            if order.is_ne() {
                return order;
            }
        }
        let by_type = self.value.rank().cmp(&other.value.rank());
        by_type
            .then_with(|| self.allocation_role.cmp(&other.allocation_role))
            .then_with(|| cmp_reservations(&self.reservations, &other.reservations))
            .then_with(|| self.disk.cmp(&other.disk))
            .then_with(|| self.revocable.cmp(&other.revocable))
            .then_with(|| self.shared.cmp(&other.shared))
            .then_with(|| self.provider_id.cmp(&other.provider_id))
            .then_with(|| match (&self.value, &other.value) {
                (Value::Scalar(a), Value::Scalar(b)) if self.is_indivisible() => a.cmp(b),
                (Value::Ranges(a), Value::Ranges(b)) if self.is_indivisible() => a.cmp(b),
                (Value::Set(a), Value::Set(b)) if self.is_indivisible() => a.cmp(b),
                _ => Ordering::Equal,
            })
    }
}

/// Advances `at` to the first resource that is not less than `of`; returns whether it is of the same kind.
fn seek(list: &[Resource], at: &mut usize, of: &Resource) -> bool {
    while let Some(own) = list.get(*at) {
        match own.cmp_kind(of) {
            Ordering::Less => *at += 1,
            order => return order.is_eq(),
        }
    }
    false
}

impl Resources {
    /// Adds a resource; zero and negative amounts are ignored.
    pub fn add(&mut self, resource: Resource) {
        if resource.value.is_zero() {
            return;
        }
        match self.position(&resource) {
            Ok(at) if !resource.is_indivisible() => self.change(|list| list[at].value.add(&resource.value)),
            Ok(at) | Err(at) => self.change(|list| list.insert(at, resource)),
        }
    }

    fn position(&self, of: &Resource) -> Result<usize, usize> {
        self.list().binary_search_by(|r| r.cmp_kind(of))
    }

    /// Subtracts `other`, as far as `self` contains it.
    pub fn remove_all(&mut self, other: &Resources) {
        if self == other {
            *self = Resources::new();
            return;
        }
        if self.is_empty() || other.is_empty() {
            return;
        }
        self.change(|list| {
            // Both lists are in normal order: one pass over both.
            let mut at = 0;
            for resource in other {
                if !seek(list, &mut at, resource) {
                    continue;
                }
                if !resource.is_indivisible() {
                    list[at].value.subtract(&resource.value);
                    if !list[at].value.is_zero() {
                        continue;
                    }
                }
                list.remove(at);
            }
        });
    }

    /// `self` without `other`; `None` if `self` does not contain it.
    pub fn checked_sub(&self, other: &Resources) -> Option<Resources> {
        self.contains(other).then(|| self.saturating_sub(other))
    }

    /// `self` without `other`, as far as `self` contains it.
    pub fn saturating_sub(&self, other: &Resources) -> Resources {
        let mut left = self.clone();
        left.remove_all(other);
        left
    }

    /// Whether `self` contains all of `other`.
    pub fn contains(&self, other: &Resources) -> bool {
        // Clones of one list, as of an agent that is declined whole, need no look at what is in it.
        self == other
            || other.iter().all(|wanted| {
                if wanted.is_indivisible() {
                    let count = |of: &Resources| of.iter().filter(|r| r.cmp_kind(wanted).is_eq()).count();
                    return count(self) >= count(other);
                }
                match self.position(wanted) {
                    Ok(at) => self.list()[at].value.contains(&wanted.value),
                    Err(_) => false,
                }
            })
    }

    /// The sum of the scalars with this name, whatever their reservation, allocation and disk.
    pub fn scalar(&self, name: &str) -> Scalar {
        self.scalars().filter(|(n, _)| &***n == name).fold(Scalar::ZERO, |sum, (_, amount)| sum + amount)
    }

    /// The same resources with other amounts of the named scalars. More is unreserved and allocated to `role`, and revocable if what
    /// there is of it is; less is taken from unreserved resources first.
    pub fn with_amounts(&self, amounts: &Resources, role: Option<&Role>) -> Resources {
        let mut changed = self.clone();
        let mut names: Vec<&Arc<str>> = amounts.scalars().map(|(name, _)| name).collect();
        names.dedup();
        for name in names {
            let (held, wanted) = (self.scalar(name), amounts.scalar(name));
            if wanted > held {
                let revocable = self.iter().any(|r| r.name == *name && r.revocable);
                let more = Resource::scalar(name, wanted - held);
                changed.add(Resource { allocation_role: role.cloned(), revocable, ..more });
                continue;
            }
            let mut less = held - wanted;
            let own = |reserved: bool| {
                self.iter().filter(move |r| {
                    r.name == *name && !r.is_indivisible() && r.reservations.is_empty() != reserved
                })
            };
            for source in own(false).chain(own(true)) {
                let Value::Scalar(amount) = source.value else { continue };
                let cut = amount.min(less);
                less -= cut;
                let cut = Resource { value: Value::Scalar(cut), ..source.clone() };
                changed.remove_all(&[cut].into_iter().collect());
            }
        }
        changed
    }

    /// Every scalar with its name. A name appears once per kind of resource.
    pub fn scalars(&self) -> impl Iterator<Item = (&Arc<str>, Scalar)> {
        self.iter().filter_map(|r| match r.value {
            Value::Scalar(amount) => Some((&r.name, amount)),
            _ => None,
        })
    }

    /// Selects resources that make up `targets` (unreserved, unallocated amounts), reserved ones first; `None` if there
    /// are not enough. The result keeps its reservations and allocation.
    pub fn find(&self, targets: &Resources) -> Option<Resources> {
        let mut found = Resources::new();
        for target in targets {
            let mut wanted = target.value.clone();
            let candidates = || {
                self.iter().filter(|r| {
                    r.name == target.name && r.revocable == target.revocable && !r.is_indivisible()
                })
            };
            let reserved_first = candidates()
                .filter(|r| !r.reservations.is_empty())
                .chain(candidates().filter(|r| r.reservations.is_empty()));
            for source in reserved_first {
                let taken = common(&source.value, &wanted)?;
                wanted.subtract(&taken);
                found.add(Resource { value: taken, ..source.clone() });
            }
            if !wanted.is_zero() {
                return None;
            }
        }
        Some(found)
    }

    /// Selects the lowest `count` numbers of the ranges with this name (ports), with their reservation and allocation.
    pub fn find_ranges(&self, name: &str, count: u64) -> Option<Resources> {
        let mut left = count;
        let mut found = Resources::new();
        for resource in self.iter().filter(|r| &*r.name == name) {
            let Value::Ranges(ranges) = &resource.value else { continue };
            let lowest = ranges.lowest(left.min(ranges.count()))?;
            left -= lowest.count();
            found.add(Resource { value: Value::Ranges(lowest), ..resource.clone() });
        }
        (left == 0).then_some(found)
    }
}

/// The intersection of two values; `None` if their types differ.
fn common(a: &Value, b: &Value) -> Option<Value> {
    Some(match (a, b) {
        (Value::Scalar(a), Value::Scalar(b)) => Value::Scalar(*a.min(b)),
        (Value::Ranges(a), Value::Ranges(b)) => Value::Ranges(a.intersection(b)),
        (Value::Set(a), Value::Set(b)) => Value::Set(a.intersection(b).cloned().collect()),
        _ => return None,
    })
}

impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, other: &Resources) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        if other.is_empty() {
            return;
        }
        self.change(|list| {
            // Both lists are in normal order: one pass over both.
            let mut at = 0;
            for resource in other {
                match seek(list, &mut at, resource) {
                    true if !resource.is_indivisible() => list[at].value.add(&resource.value),
                    _ => list.insert(at, resource.clone()),
                }
            }
        });
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<T: IntoIterator<Item = Resource>>(resources: T) -> Self {
        let mut all = Resources::new();
        for resource in resources {
            all.add(resource);
        }
        all
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
