//! The number of objects per resource, for `/metrics`.

use prometheus::core::Collector;
use prometheus::proto::MetricType;

use super::Registry;
use crate::metrics::families::{Family, FamilyOptions, Scraped};

const RESOURCE_OBJECTS: FamilyOptions = FamilyOptions {
    name: "apiserver_resource_objects",
    help: "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
    labels: &["group", "resource"],
    kind: MetricType::GAUGE,
};
/// Upstream's older name of the metric, which is stable and used by many dashboards.
const STORAGE_OBJECTS: FamilyOptions = FamilyOptions {
    name: "apiserver_storage_objects",
    help: "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
    labels: &["resource"],
    kind: MetricType::GAUGE,
};

/// Counts the objects in the watch caches at each scrape.
pub(super) fn collector(registry: &Registry) -> impl Collector + use<> {
    // Weak, because the metrics registry may outlive the object registry.
    let inner = std::sync::Arc::downgrade(&registry.inner);
    Scraped::new(&[RESOURCE_OBJECTS, STORAGE_OBJECTS], move || {
        let (mut by_group, mut by_name) = (Family::new(RESOURCE_OBJECTS), Family::new(STORAGE_OBJECTS));
        let Some(inner) = inner.upgrade() else { return Vec::new() };
        // Resources that share storage are counted once, under the storage version.
        for resource in inner.catalog.load().iter().filter(|resource| resource.is_storage_version()) {
            let Some(store) = resource.store() else { continue };
            let count = store.cache().len() as f64;
            by_group.add(&[&resource.group, &resource.plural], count);
            by_name.add(&[&resource.group_resource().to_string()], count);
        }
        vec![by_group, by_name]
    })
}
