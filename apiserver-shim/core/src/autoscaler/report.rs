//! The status of a HorizontalPodAutoscaler in the making, and the Events about it.

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use crate::{
    controllers::{Action, Change, EventRecord, EventSource, Plan, Target, condition},
    rows::{Seconds, rfc3339},
};

/// What is told about one look.
#[derive(Debug)]
pub struct Report {
    about: Target,
    before: Value,
    conditions: Vec<Value>,
    events: Vec<EventRecord>,
    now: Seconds,
    pub(super) current: i64,
    pub(super) desired: i64,
    /// `status.currentMetrics`, in the order of the spec.
    pub(super) metrics: Vec<Value>,
    /// Whether the number of replicas was changed.
    pub(super) scaled: bool,
}

impl Report {
    /// Begins with the status that the object has.
    pub fn begin(header: &Header, object: &Value, now: Seconds) -> Report {
        let before = object["status"].clone();
        let number = |member| access::int(&before, &[member]).unwrap_or(0);
        Report {
            about: super::target(header),
            conditions: access::list(&before, &["conditions"]).to_vec(),
            events: Vec::new(),
            now,
            current: number("currentReplicas"),
            desired: number("desiredReplicas"),
            metrics: Vec::new(),
            scaled: false,
            before,
        }
    }

    /// The scale of the target cannot be read.
    pub fn no_scale(&mut self, why: &str) {
        self.tell(true, "FailedGetScale", why.to_owned());
        let message = format!("the HPA controller was unable to get the target's current scale: {why}");
        self.set("AbleToScale", false, "FailedGetScale", &message);
        self.metrics = access::list(&self.before, &["currentMetrics"]).to_vec();
    }

    /// The wanted number stays what it was.
    pub(super) fn keep_desired(&mut self) {
        self.desired = access::int(&self.before, &["desiredReplicas"]).unwrap_or(0);
    }

    pub(super) fn tell(&mut self, warning: bool, reason: &'static str, message: String) {
        let (about, source) = (self.about.clone(), EventSource::Component(super::NAME));
        self.events.push(EventRecord { about, warning, reason, message, source });
    }

    /// Sets a condition in place. `lastTransitionTime` changes with the status only.
    pub(super) fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let status = if holds { "True" } else { "False" };
        let since = condition(&self.before, kind)
            .filter(|old| access::text(old, &["status"]) == status)
            .and_then(|old| old.get("lastTransitionTime").cloned())
            .unwrap_or_else(|| rfc3339(self.now).into());
        let new = json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        });
        match self.conditions.iter_mut().find(|old| access::text(old, &["type"]) == kind) {
            Some(old) => *old = new,
            None => self.conditions.push(new),
        }
    }

    /// The writes that tell it. Nothing is written, and no Event recorded, for what the status says already.
    pub fn plan(self) -> Plan {
        let metrics = if self.metrics.is_empty() { Value::Null } else { self.metrics.into() };
        let mut status = json!({
            "currentReplicas": self.current,
            "desiredReplicas": self.desired,
            "currentMetrics": metrics,
            "conditions": self.conditions,
        });
        match self.scaled {
            true => status["lastScaleTime"] = rfc3339(self.now).into(),
            false => access::copy(&self.before, &mut status, &["lastScaleTime"]),
        }
        let mut plan = Plan::default();
        let is_told = same(&status, &self.before);
        if !is_told {
            let changes = vec![Change::Put(&["status"], status)];
            plan.actions.push(Action::Change { target: self.about, subresource: Some("status"), changes });
            plan.events = self.events;
        }
        plan
    }
}

/// Whether two statuses say the same: a member that is null, zero or empty is as good as none.
fn same(a: &Value, b: &Value) -> bool {
    let members = ["currentReplicas", "desiredReplicas", "currentMetrics", "conditions", "lastScaleTime"];
    members.iter().all(|member| {
        let (a, b) = (&a[member], &b[member]);
        a == b || (access::is_zero(a) && access::is_zero(b))
    })
}
