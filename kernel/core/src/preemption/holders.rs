//! Who holds what, and who is furthest above its fair share: the one that the allocator would serve last. The fair share is
//! weighted and hierarchical, and does not depend on who wants offers now: the order is that of the allocator's roles
//! (`allocator/shares.rs`), from the top.

use std::{cmp::Ordering, collections::BTreeMap};

use kernel_model::{quota::Quantities, resources::Scalar, roles::Role};

/// A node of the tree of those that hold resources: a role, or a framework in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// The position of the role that it is in; `None` at the top.
    pub parent: Option<usize>,
    /// The role; `None` for a framework, and for the frameworks of a role that share with the roles below it.
    pub role: Option<Role>,
    /// Shares are divided by it.
    pub weight: f64,
    /// What it and those below it hold, offers included.
    pub held: Quantities,
}

/// All that hold resources.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Holders {
    /// The cluster's resources that count for shares.
    pub total: Quantities,
    /// The nodes, in any order.
    pub list: Vec<Holder>,
}

/// The shares of a holder and of those above it, from the top.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shares(Vec<f64>);

impl Shares {
    /// Those with the higher share are first. Siblings are compared where the paths part: what is above is the same for both.
    pub(super) fn compare(&self, other: &Shares) -> Ordering {
        let differs = self.0.iter().zip(&other.0).map(|(a, b)| b.total_cmp(a)).find(|order| order.is_ne());
        differs.unwrap_or_else(|| other.0.len().cmp(&self.0.len()))
    }
}

/// What holders have lost, by position.
pub(super) type Lost = BTreeMap<usize, Quantities>;

impl Holders {
    /// The holder and those above it, upwards.
    fn above(&self, at: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(at), |at| self.list.get(*at).and_then(|holder| holder.parent))
    }

    /// The dominant share by weight of the holder, and of each above it.
    pub(super) fn shares(&self, at: usize, lost: &Lost) -> Shares {
        let share = |at: usize| {
            let holder = self.list.get(at)?;
            let lost = lost.get(&at);
            let part = |(name, all): (&std::sync::Arc<str>, Scalar)| {
                let held = holder.held.get(name).unwrap_or_default().0;
                let lost = lost.and_then(|lost| lost.get(name)).unwrap_or_default().0;
                held.saturating_sub(lost) as f64 / all.0.max(1) as f64
            };
            Some(self.total.iter().map(part).fold(0.0, f64::max) / holder.weight)
        };
        let mut shares: Vec<f64> = self.above(at).filter_map(share).collect();
        shares.reverse();
        Shares(shares)
    }

    /// The holder loses something to a role. Roles that contain both keep it.
    pub(super) fn lose(&self, lost: &mut Lost, at: usize, to: &Role, amounts: &Quantities) {
        for at in self.above(at) {
            let keeps = self.list.get(at).and_then(|holder| holder.role.as_ref());
            if keeps.is_none_or(|role| !to.is_within(role)) {
                lost.entry(at).or_default().add_all(amounts);
            }
        }
    }
}
