//! The interface of a controller. Adding one is one file with an `impl Controller`, and one line in [`super::all`].
//!
//! A controller is a pure function of the cached objects: it declares what it reads (`inputs`), says which keys a change
//! concerns (`keys`), and computes the writes for one key (`reconcile`). It holds no state between calls. Queues, retries,
//! concurrency and writes are the shell's.

use std::collections::BTreeSet;

use super::{
    Plan,
    cache::{Input, ObjectChange, ObjectName, View},
};

/// One controller.
pub trait Controller: Send + Sync + 'static {
    /// Upstream's name of the controller, as in `kube-controller-manager --controllers`.
    const NAME: &'static str;
    /// The service account in `kube-system` that writes for it; upstream's RBAC bindings name it.
    const SERVICE_ACCOUNT: &'static str;

    /// The resources that it reads. A change of one of them is passed to [`Controller::keys`].
    fn inputs(&self) -> Vec<Input>;

    /// Adds the keys that a change concerns. `view` already contains the change. A key too many costs one reconcile; a
    /// missing key is repaired by the periodic resync only.
    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys);

    /// Computes what to write for one key. Reconciling the resulting state again must plan nothing (INV-52).
    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan;
}

/// The keys that a change concerns; each once.
pub type Keys = BTreeSet<ObjectName>;

/// A controller with its type erased.
pub struct Registration {
    /// [`Controller::NAME`].
    pub name: &'static str,
    /// [`Controller::SERVICE_ACCOUNT`].
    pub service_account: &'static str,
    /// [`Controller::inputs`].
    pub inputs: Vec<Input>,
    controller: Box<dyn DynController>,
}

/// The methods of [`Controller`] without its constants, which a trait object cannot have.
trait DynController: Send + Sync {
    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys);
    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan;
}

impl<C: Controller> DynController for C {
    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        Controller::keys(self, change, view, keys);
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        Controller::reconcile(self, view, key)
    }
}

impl Registration {
    /// Erases the type of a controller.
    pub fn new<C: Controller>(controller: C) -> Registration {
        Registration {
            name: C::NAME,
            service_account: C::SERVICE_ACCOUNT,
            inputs: controller.inputs(),
            controller: Box::new(controller),
        }
    }

    /// [`Controller::keys`] for the inputs; a change of any other resource concerns no key.
    pub fn keys(&self, change: &ObjectChange, view: &View<'_>) -> Keys {
        let mut keys = Keys::new();
        if self.inputs.iter().any(|input| input.covers(&change.resource)) {
            self.controller.keys(change, view, &mut keys);
        }
        keys
    }

    /// [`Controller::reconcile`].
    pub fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        self.controller.reconcile(view, key)
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("name", &self.name).finish_non_exhaustive()
    }
}
