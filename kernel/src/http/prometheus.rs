//! `/metrics` of master and agent: the metrics of `/metrics/snapshot` in Prometheus' text format. Names are Mesos' with `/`
//! as `_`, since Prometheus allows no slash: `master/tasks_running` is `master_tasks_running`.

use exposition::Registry;
use hyper::StatusCode;
use prometheus::{Counter, Gauge, Opts};

use super::{
    Answer,
    negotiate::{ok, text},
};

/// Ends of names whose metric only grows while the process lives.
const COUNTERS: [&str; 11] = [
    "_finished",
    "_failed",
    "_killed",
    "_lost",
    "_error",
    "_dropped",
    "_gone",
    "_gone_by_operator",
    "registrations",
    "_removals",
    "_messages",
];

/// The response with these metrics, which are named as Mesos names them.
pub(crate) fn response(metrics: Vec<(String, f64)>) -> Answer {
    match encode(metrics) {
        Ok(body) => ok(exposition::TEXT_FORMAT, body.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn encode(metrics: Vec<(String, f64)>) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    for (name, value) in metrics {
        // Names of tasks' ends have a reason in them, and all end in its name.
        let ended = name.starts_with("master/task_");
        let help = format!("{name} of /metrics/snapshot");
        let options = Opts::new(name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"), help);
        let counts = ended || name.contains("/calls/") || COUNTERS.iter().any(|end| name.ends_with(end));
        if counts && value >= 0.0 {
            let counter = Counter::with_opts(options)?;
            counter.inc_by(value);
            registry.register(Box::new(counter))?;
        } else {
            let gauge = Gauge::with_opts(options)?;
            gauge.set(value);
            registry.register(Box::new(gauge))?;
        }
    }
    exposition::print(&registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mesos_names_become_prometheus_names() {
        let metrics =
            [("master/tasks_running", 3.0), ("master/tasks_finished", 7.0), ("master/calls/accept", 2.0)];
        let body = encode(metrics.map(|(name, value)| (name.to_owned(), value)).into()).unwrap();
        expect_test::expect![[r#"
            # HELP master_calls_accept master/calls/accept of /metrics/snapshot
            # TYPE master_calls_accept counter
            master_calls_accept 2
            # HELP master_tasks_finished master/tasks_finished of /metrics/snapshot
            # TYPE master_tasks_finished counter
            master_tasks_finished 7
            # HELP master_tasks_running master/tasks_running of /metrics/snapshot
            # TYPE master_tasks_running gauge
            master_tasks_running 3
        "#]]
        .assert_eq(&body);
    }
}
