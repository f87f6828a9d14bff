//! What ends with an upgraded connection and not with the response that switches protocols: the measurement and the audit
//! record of its request.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use super::body::Response;

/// Values that are dropped with the last clone. The task that copies an upgraded connection keeps one; another travels in
/// the response's extensions, so that the layers of the request can add what ends with the connection.
#[derive(Clone, Default)]
pub struct ConnectionGuards(Arc<Mutex<Vec<Box<dyn Any + Send>>>>);

impl ConnectionGuards {
    /// Marks the response as one that switches protocols, and returns the guards for the task of the connection.
    pub fn of_upgrade(response: &mut Response) -> ConnectionGuards {
        let guards = ConnectionGuards::default();
        response.extensions_mut().insert(guards.clone());
        guards
    }

    /// The guards of a response that switches protocols.
    pub fn find(response: &Response) -> Option<&ConnectionGuards> {
        response.extensions().get()
    }

    /// Keeps a value until the connection ends.
    pub fn hold(&self, guard: impl Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(guard));
    }
}
