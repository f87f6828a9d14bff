//! Labels: key and optional value. Keys may repeat, as in Mesos.

use std::{fmt, sync::Arc};

/// An ordered list of labels, shared between clones (copy-on-write).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(
    /// `None` exactly if the list is empty, which is the common case.
    Option<Arc<Vec<Label>>>,
);

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Label {
    pub key: String,
    pub value: Option<String>,
}

impl Labels {
    /// The labels, in order.
    pub fn as_slice(&self) -> &[Label] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The value of the first label with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.as_slice().iter().find(|l| l.key == key).and_then(|l| l.value.as_deref())
    }

    /// Appends a label.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        let labels = Arc::make_mut(self.0.get_or_insert_default());
        labels.push(Label { key: key.to_owned(), value: Some(value.to_owned()) });
        self
    }
}

impl fmt::Display for Labels {
    /// The form of Mesos' messages: `{key: value, key}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, label) in self.as_slice().iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}", label.key)?;
            if let Some(value) = &label.value {
                write!(f, ": {value}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Labels").field(&self.as_slice()).finish()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<T: IntoIterator<Item = Label>>(labels: T) -> Self {
        let labels: Vec<Label> = labels.into_iter().collect();
        Self((!labels.is_empty()).then(|| Arc::new(labels)))
    }
}
