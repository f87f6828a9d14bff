//! Roles for those who show or administer them. Read on a snapshot, away from the thread that serves all.

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{quota::Quantities, role_report::RoleReport, roles::Role};

use super::Master;

impl Master {
    /// Every role that [`Master::roles`] has, except those of which nothing is known but the default weight.
    pub fn role_reports(&self) -> Vec<RoleReport> {
        let report = |view: super::RoleView| RoleReport {
            role: view.role,
            weight: view.weight,
            quota: view.quota,
            allocated: BTreeMap::new(),
            reserved: Quantities::of(&view.reserved, |_| true),
            dominant_share: 0.0,
        };
        let mut reports: BTreeMap<Role, RoleReport> =
            self.roles().into_iter().map(|view| (view.role.clone(), report(view))).collect();
        let frameworks = self.frameworks.values().flat_map(|framework| framework.clients.keys());
        let used: BTreeSet<Role> = frameworks.cloned().collect();
        let mut total = Quantities::default();
        for agent in self.agents.values() {
            // Shares are of what machines have: an estimate changes them in no way.
            total.add_all(&Quantities::of(&agent.info.resources, |_| true));
            for (framework, held) in &agent.allocated {
                for role in held.allocation_roles() {
                    let part = Quantities::of(&held.allocated_in(role), |r| !r.revocable);
                    for ancestor in role.lineage().filter_map(|name| Role::parse(name).ok()) {
                        if let Some(report) = reports.get_mut(&ancestor) {
                            report.allocated.entry(framework.clone()).or_default().add_all(&part);
                        }
                    }
                }
            }
        }
        let is_worth = |report: &RoleReport| !is_unused(report) || used.contains(&report.role);
        let mut reports: Vec<_> = reports.into_values().filter(is_worth).collect();
        for report in &mut reports {
            report.dominant_share = dominant_share(report, &total);
        }
        reports
    }
}

fn is_unused(report: &RoleReport) -> bool {
    let has_default_settings = report.weight == 1.0 && report.quota.is_default();
    has_default_settings && report.allocated.is_empty() && report.reserved.is_empty()
}

fn dominant_share(report: &RoleReport, total: &Quantities) -> f64 {
    let mut allocated = Quantities::default();
    report.allocated.values().for_each(|part| allocated.add_all(part));
    let share = |(name, amount): (&std::sync::Arc<str>, kernel_model::resources::Scalar)| {
        let total = total.get(name).filter(|total| total.0 > 0)?;
        Some(amount.as_f64() / total.as_f64())
    };
    allocated.iter().filter_map(share).fold(0.0, f64::max)
}
