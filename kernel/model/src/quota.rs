//! Quotas of roles: what is guaranteed to a role and those below it, and what they may not exceed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::resources::{Resource, Resources, Scalar};

/// Amounts of scalars by name, whatever their reservation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quantities(BTreeMap<Arc<str>, Scalar>);

impl Quantities {
    /// The amount of a name, if there is one.
    pub fn get(&self, name: &str) -> Option<Scalar> {
        self.0.get(name).copied()
    }

    /// The amounts, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Scalar)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }

    /// Whether no name has an amount.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an amount.
    pub fn add(&mut self, name: &Arc<str>, amount: Scalar) {
        *self.0.entry(name.clone()).or_default() += amount;
    }

    /// Adds all amounts.
    pub fn add_all(&mut self, other: &Quantities) {
        other.iter().for_each(|(name, amount)| self.add(name, amount));
    }

    /// Whether there is as much of each name as in `other`.
    pub fn contains(&self, other: &Quantities) -> bool {
        other.iter().all(|(name, amount)| self.get(name).unwrap_or_default() >= amount)
    }

    /// The scalars that satisfy a condition.
    pub fn of(resources: &Resources, counts: impl Fn(&Resource) -> bool) -> Self {
        let mut sum = Self::default();
        for resource in resources.iter().filter(|resource| counts(resource)) {
            if let crate::resources::Value::Scalar(amount) = resource.value {
                sum.add(&resource.name, amount);
            }
        }
        sum
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, Scalar)> for Quantities {
    fn from_iter<T: IntoIterator<Item = (N, Scalar)>>(amounts: T) -> Self {
        Self(amounts.into_iter().map(|(name, amount)| (name.into(), amount)).collect())
    }
}

impl fmt::Display for Quantities {
    /// As Mesos prints them: `cpus:1; mem:64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("{}");
        }
        for (at, (name, amount)) in self.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{name}:{amount}")?;
        }
        Ok(())
    }
}

/// The quota of a role. It counts what is allocated or offered to the role and to those below it, and all that is reserved for
/// them, except revocable resources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// What others may not take from the role.
    pub guarantees: Quantities,
    /// What the role may not exceed; names that are missing are not limited.
    pub limits: Quantities,
}

impl Quota {
    /// Whether it is the same as none.
    pub fn is_default(&self) -> bool {
        self.guarantees.is_empty() && self.limits.is_empty()
    }

    /// Why no role can have it; `None` if one can. Whoever sets a quota is told, so that none is kept that cannot be read again.
    pub fn fault(&self) -> Option<String> {
        for (what, amounts) in [("guarantee", &self.guarantees), ("limit", &self.limits)] {
            for (name, amount) in amounts.iter() {
                let (most, called) = Self::most(name);
                if amount < Scalar::ZERO {
                    return Some(format!("The {what} of '{name}' is negative: {amount}"));
                }
                if amount.as_f64() > most {
                    return Some(format!("The {what} of '{name}' is greater than {called}: {amount}"));
                }
            }
        }
        let (guarantees, limits) = (&self.guarantees, &self.limits);
        (!self.allows(guarantees))
            .then(|| format!("The guarantee {guarantees} is not contained within the limit {limits}"))
    }

    /// The most of a name that a quota can have, and what Mesos calls it.
    pub fn most(name: &str) -> (f64, &'static str) {
        match name {
            // Megabytes of an exabyte.
            "mem" | "disk" => (1_099_511_627_776.0, "1 exabyte"),
            _ => (1e12, "1 trillion"),
        }
    }

    /// Whether the limits allow so much.
    pub fn allows(&self, amounts: &Quantities) -> bool {
        self.limits.iter().all(|(name, limit)| amounts.get(name).unwrap_or_default() <= limit)
    }
}
