//! The status of a Job as a value: decoded, changed, compared with the stored one, encoded.

use serde_json::{Map, Value, json};
use shim_model::{access, time};

use crate::rows::{Seconds, rfc3339};

/// `status` of a Job.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct JobStatus {
    pub conditions: Vec<Value>,
    pub start_time: Option<String>,
    pub completion_time: Option<String>,
    pub active: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub ready: Option<i64>,
    pub terminating: Option<i64>,
    pub completed_indexes: String,
    pub failed_indexes: Option<String>,
    /// UIDs of ended Pods that have the finalizer, or had it when the status was written, and are not in the counters.
    pub uncounted_succeeded: Vec<String>,
    /// The same for failed Pods.
    pub uncounted_failed: Vec<String>,
}

impl JobStatus {
    /// Decodes it.
    pub fn decode(status: &Value) -> JobStatus {
        let count = |name: &str| access::int(status, &[name]);
        let text =
            |name: &str| Some(access::text(status, &[name])).filter(|t| !t.is_empty()).map(str::to_owned);
        let uids = |name: &str| {
            let uids = access::list(status, &["uncountedTerminatedPods", name]).iter();
            uids.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        JobStatus {
            conditions: access::list(status, &["conditions"]).to_vec(),
            start_time: text("startTime"),
            completion_time: text("completionTime"),
            active: count("active").unwrap_or(0),
            succeeded: count("succeeded").unwrap_or(0),
            failed: count("failed").unwrap_or(0),
            ready: count("ready"),
            terminating: count("terminating"),
            completed_indexes: text("completedIndexes").unwrap_or_default(),
            failed_indexes: access::get(status, &["failedIndexes"])
                .and_then(Value::as_str)
                .map(str::to_owned),
            uncounted_succeeded: uids("succeeded"),
            uncounted_failed: uids("failed"),
        }
    }

    /// Encodes it as Go does: zero counters are left out, those behind a pointer are not.
    pub fn encode(&self) -> Value {
        let mut status = Map::new();
        let mut put = |name: &str, value: Value, present: bool| {
            if present {
                status.insert(name.to_owned(), value);
            }
        };
        put("conditions", Value::from(self.conditions.clone()), !self.conditions.is_empty());
        put("startTime", json!(self.start_time), self.start_time.is_some());
        put("completionTime", json!(self.completion_time), self.completion_time.is_some());
        for (name, count) in [("active", self.active), ("succeeded", self.succeeded), ("failed", self.failed)]
        {
            put(name, count.into(), count != 0);
        }
        put("ready", json!(self.ready), self.ready.is_some());
        put("terminating", json!(self.terminating), self.terminating.is_some());
        put("completedIndexes", json!(self.completed_indexes), !self.completed_indexes.is_empty());
        put("failedIndexes", json!(self.failed_indexes), self.failed_indexes.is_some());
        let mut uncounted = Map::new();
        for (name, uids) in [("succeeded", &self.uncounted_succeeded), ("failed", &self.uncounted_failed)] {
            if !uids.is_empty() {
                uncounted.insert(name.to_owned(), json!(uids));
            }
        }
        put("uncountedTerminatedPods", Value::Object(uncounted), true);
        Value::Object(status)
    }

    /// When it started.
    pub fn started(&self) -> Option<Seconds> {
        let at = time::Instant::parse(self.start_time.as_deref()?)?;
        Some(at.seconds())
    }

    /// The condition of this type, if it is true.
    pub fn true_condition(&self, kind: &str) -> Option<&Value> {
        let mut conditions = self.conditions.iter().filter(|c| access::text(c, &["type"]) == kind);
        conditions.find(|c| access::text(c, &["status"]) == "True")
    }

    /// Sets a condition. One that is false is not added. Returns whether anything changed.
    pub fn set_condition(
        &mut self,
        (kind, status): (&str, &str),
        (reason, message): (&str, &str),
        now: Seconds,
    ) -> bool {
        let old = self.conditions.iter_mut().find(|c| access::text(c, &["type"]) == kind);
        let is = |c: &Value, name: &str, value: &str| access::text(c, &[name]) == value;
        match old {
            Some(old)
                if is(old, "status", status) && is(old, "reason", reason) && is(old, "message", message) =>
            {
                return false;
            }
            Some(old) => *old = condition((kind, status), (reason, message), now),
            None if status == "False" => return false,
            None => self.conditions.push(condition((kind, status), (reason, message), now)),
        }
        true
    }

    /// Counts the uncounted Pods that have lost the finalizer: those with these UIDs still have it.
    pub fn count_released(&mut self, has_finalizer: impl Fn(&str) -> bool) {
        for (uids, counter) in [
            (&mut self.uncounted_succeeded, &mut self.succeeded),
            (&mut self.uncounted_failed, &mut self.failed),
        ] {
            let before = uids.len();
            uids.retain(|uid| has_finalizer(uid));
            *counter += (before - uids.len()) as i64;
        }
    }
}

fn condition((kind, status): (&str, &str), (reason, message): (&str, &str), now: Seconds) -> Value {
    let now = rfc3339(now);
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastProbeTime": now, "lastTransitionTime": now,
    })
}
