//! Measures the machine for oversubscription: busy CPUs, load, pressure, and what each container uses.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use kernel_core::agent::Event;
use kernel_model::{ids::ContainerId, oversubscription::Sample, resources::Scalar};

use crate::{agent_driver::AgentQueue, runtime::Runtime};

/// The unit of `/proc/stat`, which Linux fixes for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters at a time.
struct Counters {
    at: Instant,
    /// Seconds.
    busy: Option<f64>,
    /// Seconds.
    containers: BTreeMap<ContainerId, f64>,
    /// Seconds, of all Pods whose CPUs are revocable.
    revocable_pods: Option<f64>,
}

/// Measures until the agent stops.
pub(super) async fn run(queue: AgentQueue, runtime: Runtime, every: Duration) {
    let mut before: Option<Counters> = None;
    loop {
        let runtime = runtime.clone();
        let measured = tokio::task::spawn_blocking(move || (counters(&runtime), gauges())).await;
        let Ok((now, gauges)) = measured else {
            tracing::error!("measuring the machine failed");
            return;
        };
        let sample = match &before {
            Some(before) => rates(before, &now, gauges),
            None => gauges,
        };
        before = Some(now);
        if queue.event(Event::Sampled(sample.into())).await.is_err() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

fn counters(runtime: &Runtime) -> Counters {
    let stat = fs::read_to_string("/proc/stat").ok();
    Counters {
        at: Instant::now(),
        busy: stat.as_deref().and_then(busy_seconds),
        containers: runtime.cpu_seconds(),
        revocable_pods: runtime.revocable_pods_cpu_seconds(),
    }
}

fn gauges() -> Sample {
    let pressure = |name: &str| {
        let text = fs::read_to_string(format!("/proc/pressure/{name}")).ok()?;
        some_avg10(&text)
    };
    Sample {
        load: fs::read_to_string("/proc/loadavg").ok().as_deref().and_then(load),
        cpu_pressure: pressure("cpu"),
        memory_pressure: pressure("memory"),
        ..Sample::default()
    }
}

fn rates(before: &Counters, now: &Counters, gauges: Sample) -> Sample {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    // A counter that falls is another one: its container or its machine started anew.
    let rate = |before: f64, now: f64| {
        (seconds > 0.0 && now >= before).then(|| Scalar(((now - before) / seconds * 1000.0) as i64))
    };
    let container =
        |(id, used): (&ContainerId, &f64)| Some((id.clone(), rate(*before.containers.get(id)?, *used)?));
    Sample {
        busy_cpus: before.busy.zip(now.busy).and_then(|(before, now)| rate(before, now)),
        container_cpus: now.containers.iter().filter_map(container).collect(),
        revocable_pods_cpus: before
            .revocable_pods
            .zip(now.revocable_pods)
            .and_then(|(before, now)| rate(before, now)),
        ..gauges
    }
}

/// The seconds in which CPUs were busy, of `/proc/stat`: neither idle nor waiting for I/O.
fn busy_seconds(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is part of user.
    let busy = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|at| ticks.get(at)).sum::<f64>();
    (ticks.len() >= 4).then_some(busy / TICKS_PER_SECOND)
}

/// The averages of five and fifteen minutes, of `/proc/loadavg`.
fn load(text: &str) -> Option<[f64; 2]> {
    let mut numbers = text.split_whitespace().skip(1).map_while(|field| field.parse().ok());
    Some([numbers.next()?, numbers.next()?])
}

/// `avg10` of the line `some` of a file in `/proc/pressure`.
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("avg10=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        assert_eq!(busy_seconds("cpu  100 20 30 9999 50 5 5 40 7 0\ncpu0 1 2 3 4\n"), Some(2.0));
        assert_eq!(busy_seconds("intr 1\n"), None);
        assert_eq!(load("0.50 1.25 2.75 1/234 5678\n"), Some([1.25, 2.75]));
        assert_eq!(load("0.50\n"), None);
        let text =
            "some avg10=33.65 avg60=42.83 avg300=22.82 total=1\nfull avg10=1.00 avg60=0 avg300=0 total=0\n";
        assert_eq!(some_avg10(text), Some(33.65));
        assert_eq!(some_avg10("full avg10=1.00\n"), None);
    }

    #[test]
    fn rates_are_per_second_and_never_of_another_counter() {
        let at = Instant::now();
        let counters = |secs, busy, used: &[(&str, f64)]| Counters {
            at: at + Duration::from_secs(secs),
            busy,
            containers: used.iter().map(|(id, used)| ((*id).into(), *used)).collect(),
            revocable_pods: busy.map(|busy| busy / 2.0),
        };
        let before = counters(0, Some(10.0), &[("a", 1.0), ("b", 5.0)]);
        let now = counters(2, Some(13.0), &[("a", 2.0), ("b", 1.0), ("c", 1.0)]);
        let sample = rates(&before, &now, Sample::default());
        assert_eq!(sample.busy_cpus, Some(Scalar(1500)));
        assert_eq!(sample.revocable_pods_cpus, Some(Scalar(750)));
        assert_eq!(sample.container_cpus, [("a".into(), Scalar(500))].into());
        assert_eq!(rates(&now, &before, Sample::default()).busy_cpus, None);
    }
}
