//! Which webhooks or policies run again because a later plugin has changed the object.

use std::collections::BTreeSet;

use serde_json::Value;

/// The state of one plugin for one request.
#[derive(Debug, Default)]
pub struct Reinvocation {
    /// The object as the plugin has left it.
    last_output: Option<Value>,
    /// Those that have run, and are to run again after a change.
    invoked: BTreeSet<String>,
    /// Those that run again.
    again: BTreeSet<String>,
}

impl Reinvocation {
    /// Notes that one has run that runs again after a change.
    pub fn note_invoked(&mut self, id: &str) {
        self.invoked.insert(id.to_owned());
    }

    /// Notes a change of the object: all that have run are to run again.
    pub fn note_change(&mut self) {
        self.again.append(&mut self.invoked);
    }

    /// Notes the object as the plugin has left it.
    pub fn finish(&mut self, object: Option<&Value>) {
        self.last_output = object.cloned();
    }

    /// Begins the second run of the plugin. Other plugins may have changed the object meanwhile.
    pub fn begin_again(&mut self, object: Option<&Value>) {
        if self.last_output.as_ref() != object {
            self.note_change();
        }
    }

    /// Whether one runs in the second run of the plugin. One that has not run in the first does not.
    pub fn runs_again(&self, id: &str) -> bool {
        self.again.contains(id)
    }
}
