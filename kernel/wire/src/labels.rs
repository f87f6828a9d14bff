//! Converts labels from and to `mesos.v1.Labels`.

use kernel_model::labels::{Label, Labels};

use crate::v1;

/// Encodes labels; `None` if there are none.
pub fn to_wire(labels: &Labels) -> Option<v1::Labels> {
    let labels = labels.as_slice();
    (!labels.is_empty()).then(|| v1::Labels {
        labels: labels.iter().map(|l| v1::Label { key: l.key.clone(), value: l.value.clone() }).collect(),
    })
}

/// Decodes labels; an absent message means no labels.
pub fn from_wire(labels: Option<v1::Labels>) -> Labels {
    let labels = labels.map(|l| l.labels).unwrap_or_default();
    labels.into_iter().map(|l| Label { key: l.key, value: l.value }).collect()
}
