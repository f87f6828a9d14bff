//! Labels: free key and value pairs; keys may repeat, as Mesos allows.

/// An ordered list of labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(pub Vec<Label>);

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The key.
    pub key: String,
    /// The value, if any.
    pub value: Option<String>,
}

impl Labels {
    /// The value of the first label with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|l| l.key == key).and_then(|l| l.value.as_deref())
    }

    /// These labels and one more.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push(Label { key: key.to_owned(), value: Some(value.to_owned()) });
        self
    }
}
