//! A Pod's table row, with the STATUS column.

use super::super::cells::{age, name, or};
use serde_json::Value;
use shim_model::access;
use shim_model::time::{self, Instant};

pub(super) fn cells(pod: &Value, now: Instant) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart.filter(|_| summary.restarts != 0) {
        Some(at) => format!("{} ({} ago)", summary.restarts, time::human_duration(now.since(at))),
        None => summary.restarts.to_string(),
    };
    let gates = access::list(pod, &["spec", "readinessGates"]);
    let met = gates.iter().filter(|g| is_true(pod, access::text(g, &["conditionType"]))).count();
    let gates = if gates.is_empty() { "<none>".to_owned() } else { format!("{met}/{}", gates.len()) };
    let address = access::list(pod, &["status", "podIPs"]).first().map_or("", |a| access::text(a, &["ip"]));
    let address = if address.is_empty() { access::text(pod, &["status", "podIP"]) } else { address };
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        or(address, "<none>").into(),
        or(access::text(pod, &["spec", "nodeName"]), "<none>").into(),
        or(access::text(pod, &["status", "nominatedNodeName"]), "<none>").into(),
        gates.into(),
    ]
}

fn condition<'a>(pod: &'a Value, ty: &str) -> Option<&'a Value> {
    access::list(pod, &["status", "conditions"]).iter().find(|c| access::text(c, &["type"]) == ty)
}

fn is_true(pod: &Value, ty: &str) -> bool {
    condition(pod, ty).is_some_and(|c| access::text(c, &["status"]) == "True")
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Instant>,
}

/// Restarts of a list of container statuses.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i64,
    last: Option<Instant>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += access::int(status, &["restartCount"]).unwrap_or(0);
        let finished = Instant::parse(access::text(status, &["lastState", "terminated", "finishedAt"]));
        self.last = self.last.max(finished);
    }
}

impl Summary {
    fn of(pod: &Value) -> Summary {
        let mut out = Summary { reason: base_reason(pod), ..Summary::default() };
        let sidecars: Vec<&str> = access::list(pod, &["spec", "initContainers"])
            .iter()
            .filter(|c| access::text(c, &["restartPolicy"]) == "Always")
            .map(|c| access::text(c, &["name"]))
            .collect();
        out.total = access::list(pod, &["spec", "containers"]).len() + sidecars.len();
        let (all, of_sidecars, initializing) = out.init_containers(pod, &sidecars);
        let counted =
            if !initializing || is_true(pod, "Initialized") { out.containers(pod, of_sidecars) } else { all };
        (out.restarts, out.last_restart) = (counted.count, counted.last);
        if !access::text(pod, &["metadata", "deletionTimestamp"]).is_empty() {
            if access::text(pod, &["status", "reason"]) == "NodeLost" {
                out.reason = "Unknown".to_owned();
            } else if !matches!(access::text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
                out.reason = "Terminating".to_owned();
            }
        }
        out
    }

    fn init_containers(&mut self, pod: &Value, sidecars: &[&str]) -> (Restarts, Restarts, bool) {
        let (mut all, mut of_sidecars) = (Restarts::default(), Restarts::default());
        let total = access::list(pod, &["spec", "initContainers"]).len();
        for (i, status) in access::list(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
            let sidecar = sidecars.contains(&access::text(status, &["name"]));
            all.add(status);
            if sidecar {
                of_sidecars.add(status);
            }
            let terminated = access::get(status, &["state", "terminated"]);
            let waiting = access::text(status, &["state", "waiting", "reason"]);
            match terminated {
                Some(t) if access::int(t, &["exitCode"]) == Some(0) => continue,
                _ if sidecar && access::flag(status, &["started"]) => {
                    self.ready += usize::from(access::flag(status, &["ready"]));
                    continue;
                }
                Some(t) => self.reason = format!("Init:{}", ended(t)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    self.reason = format!("Init:{waiting}")
                }
                None => self.reason = format!("Init:{i}/{total}"),
            }
            return (all, of_sidecars, true);
        }
        (all, of_sidecars, false)
    }

    fn containers(&mut self, pod: &Value, mut counted: Restarts) -> Restarts {
        let (mut running, mut failed) = (false, None);
        for status in access::list(pod, &["status", "containerStatuses"]).iter().rev() {
            counted.add(status);
            let waiting = access::text(status, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(t) = access::get(status, &["state", "terminated"]) {
                self.reason = ended(t);
                if access::int(t, &["exitCode"]).is_some_and(|code| code != 0) {
                    failed = Some(self.reason.clone());
                }
            } else if access::flag(status, &["ready"]) && access::get(status, &["state", "running"]).is_some()
            {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            match failed {
                _ if running && is_true(pod, "Ready") => self.reason = "Running".to_owned(),
                Some(failed) => self.reason = failed,
                None if running => self.reason = "NotReady".to_owned(),
                None => {}
            }
        }
        counted
    }
}

fn base_reason(pod: &Value) -> String {
    let gated =
        condition(pod, "PodScheduled").is_some_and(|c| access::text(c, &["reason"]) == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    let reason = access::text(pod, &["status", "reason"]);
    or(reason, access::text(pod, &["status", "phase"])).to_owned()
}

fn ended(terminated: &Value) -> String {
    let reason = access::text(terminated, &["reason"]);
    match access::int(terminated, &["signal"]).unwrap_or(0) {
        _ if !reason.is_empty() => reason.to_owned(),
        0 => format!("ExitCode:{}", access::int(terminated, &["exitCode"]).unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}
