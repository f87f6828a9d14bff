//! Amounts of the resources that Pods request, in integer units in which Kubernetes and Mesos quantities compare
//! exactly.

use serde_json::Value;
use shim_model::quantity::Quantity;

use crate::kernel_resources::REVOCABLE_CPU;

/// Resource amounts: CPU in millicores, memory and storage in bytes, all others in units.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs)]
pub struct Amounts {
    pub cpu_milli: i64,
    pub memory: i64,
    pub ephemeral: i64,
    /// Extended resources, sorted by name.
    pub others: Vec<(Box<str>, i64)>,
}

impl Amounts {
    /// Parses a resource list such as `{"cpu": "100m", "memory": "64Mi"}`. Invalid quantities count as zero.
    pub fn decode(list: Option<&Value>) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, value) in list.and_then(Value::as_object).into_iter().flatten() {
            let quantity = match value {
                Value::String(text) => text.parse::<Quantity>().ok(),
                number => number.as_i64().map(Quantity::from_units),
            };
            let Some(quantity) = quantity.filter(|q| q.sign() > 0) else { continue };
            match name.as_str() {
                "cpu" => amounts.cpu_milli = quantity.milli(),
                "memory" => amounts.memory = quantity.units(),
                "ephemeral-storage" => amounts.ephemeral = quantity.units(),
                other => *amounts.other_mut(other) = quantity.units(),
            }
        }
        amounts
    }

    /// The same amounts with all CPUs revocable.
    pub fn into_revocable(mut self) -> Amounts {
        let cpus = std::mem::take(&mut self.cpu_milli);
        if cpus > 0 {
            *self.other_mut(REVOCABLE_CPU) += cpus;
        }
        self
    }

    /// The amount of an extended resource, for changing; inserted as zero if absent.
    pub fn other_mut(&mut self, name: &str) -> &mut i64 {
        let at = match self.others.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.others.insert(at, (name.into(), 0));
                at
            }
        };
        &mut self.others[at].1
    }

    /// The amount of an extended resource.
    pub fn other(&self, name: &str) -> i64 {
        self.others.binary_search_by(|(n, _)| (**n).cmp(name)).map_or(0, |at| self.others[at].1)
    }

    /// Adds `more` to each amount.
    pub fn add(&mut self, more: &Amounts) {
        self.cpu_milli = self.cpu_milli.saturating_add(more.cpu_milli);
        self.memory = self.memory.saturating_add(more.memory);
        self.ephemeral = self.ephemeral.saturating_add(more.ephemeral);
        for (name, amount) in &more.others {
            let sum = self.other_mut(name);
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Subtracts `less` from each amount; results may be negative.
    pub fn subtract(&mut self, less: &Amounts) {
        self.cpu_milli = self.cpu_milli.saturating_sub(less.cpu_milli);
        self.memory = self.memory.saturating_sub(less.memory);
        self.ephemeral = self.ephemeral.saturating_sub(less.ephemeral);
        for (name, amount) in &less.others {
            let rest = self.other_mut(name);
            *rest = rest.saturating_sub(*amount);
        }
    }

    /// Raises each amount to the maximum of both.
    pub fn raise_to(&mut self, other: &Amounts) {
        self.cpu_milli = self.cpu_milli.max(other.cpu_milli);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        for (name, amount) in &other.others {
            let own = self.other_mut(name);
            *own = (*own).max(*amount);
        }
    }

    /// Whether every amount is at least that of `wanted`.
    pub fn holds(&self, wanted: &Amounts) -> bool {
        let enough = |have: i64, want: i64| want <= 0 || want <= have;
        enough(self.cpu_milli, wanted.cpu_milli)
            && enough(self.memory, wanted.memory)
            && enough(self.ephemeral, wanted.ephemeral)
            && wanted.others.iter().all(|(name, want)| enough(self.other(name), *want))
    }

    /// Whether `wanted` fits into this capacity in addition to `taken` and `lately`.
    pub fn has_room(&self, taken: &Amounts, lately: Option<&Amounts>, wanted: &Amounts) -> bool {
        let fits = |have: i64, of: &dyn Fn(&Amounts) -> i64| {
            let want = of(wanted);
            let used = of(taken).saturating_add(lately.map_or(0, of));
            want <= 0 || want.saturating_add(used) <= have
        };
        fits(self.cpu_milli, &|a| a.cpu_milli)
            && fits(self.memory, &|a| a.memory)
            && fits(self.ephemeral, &|a| a.ephemeral)
            && wanted.others.iter().all(|(name, _)| fits(self.other(name), &|a| a.other(name)))
    }

    /// The names of the resources of which `wanted` exceeds this.
    pub fn lacking<'a>(&self, wanted: &'a Amounts) -> Vec<&'a str> {
        let lacks = |have: i64, want: i64| want > 0 && want > have;
        let mut names = Vec::new();
        if lacks(self.cpu_milli, wanted.cpu_milli) {
            names.push("cpu");
        }
        if lacks(self.memory, wanted.memory) {
            names.push("memory");
        }
        if lacks(self.ephemeral, wanted.ephemeral) {
            names.push("ephemeral-storage");
        }
        names.extend(wanted.others.iter().filter(|(n, want)| lacks(self.other(n), *want)).map(|(n, _)| &**n));
        names
    }

    /// Whether all amounts are zero.
    pub fn is_zero(&self) -> bool {
        self.cpu_milli <= 0
            && self.memory <= 0
            && self.ephemeral <= 0
            && self.others.iter().all(|(_, n)| *n <= 0)
    }
}
