//! Measurements: wall time, CPU and memory of the server's processes, latencies.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value, json};

/// One tick of the times in `/proc/PID/stat` (USER_HZ is 100 on the Linux architectures that we support).
const TICK: Duration = Duration::from_millis(10);

/// CPU time of processes: all threads, running and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In user mode.
    pub user: Duration,
    /// In kernel mode.
    pub kernel: Duration,
}

impl Cpu {
    /// CPU time of these processes so far.
    pub fn of(pids: &[u32]) -> anyhow::Result<Cpu> {
        let mut sum = Cpu::default();
        for pid in pids {
            let stat =
                fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
            let one = Cpu::parse(&stat).with_context(|| format!("process {pid}"))?;
            sum = Cpu { user: sum.user + one.user, kernel: sum.kernel + one.kernel };
        }
        Ok(sum)
    }

    /// Fields 14 and 15. The command name before them may contain any characters, parentheses included.
    fn parse(stat: &str) -> Option<Cpu> {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = |at: usize| Some(TICK * fields.get(at)?.parse::<u32>().ok()?);
        Some(Cpu { user: ticks(11)?, kernel: ticks(12)? })
    }

    /// The sum of both.
    pub fn total(&self) -> Duration {
        self.user + self.kernel
    }

    fn since(&self, earlier: Cpu) -> Cpu {
        Cpu {
            user: self.user.saturating_sub(earlier.user),
            kernel: self.kernel.saturating_sub(earlier.kernel),
        }
    }
}

/// Resident memory of these processes in MiB.
pub fn rss_mib(pids: &[u32]) -> anyhow::Result<f64> {
    let mut kib = 0;
    for pid in pids {
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kib += line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(kib as f64 / 1024.0)
}

/// The clocks at the start of a load.
pub struct Meter<'a> {
    begun: Instant,
    pids: &'a [u32],
    cpu: Cpu,
}

impl<'a> Meter<'a> {
    /// Starts the clocks.
    pub fn start(pids: &'a [u32]) -> anyhow::Result<Meter<'a>> {
        Ok(Meter { cpu: Cpu::of(pids)?, pids, begun: Instant::now() })
    }

    /// Stops the clocks.
    pub fn stop(self) -> anyhow::Result<Spent> {
        let wall = self.begun.elapsed();
        let cpu = (!self.pids.is_empty()).then(|| Cpu::of(self.pids)).transpose()?;
        let rss_mib = (!self.pids.is_empty()).then(|| rss_mib(self.pids)).transpose()?;
        Ok(Spent { wall, cpu: cpu.map(|cpu| cpu.since(self.cpu)), rss_mib })
    }
}

/// The measurements of a load.
pub struct Spent {
    /// Wall time.
    pub wall: Duration,
    /// CPU time of the server; `None` if its processes are unknown.
    pub cpu: Option<Cpu>,
    /// Resident memory of the server at the end, in MiB.
    pub rss_mib: Option<f64>,
}

impl Spent {
    /// Server CPU per operation in µs.
    pub fn cpu_us_per(&self, count: usize) -> Option<f64> {
        self.cpu.map(|cpu| us_per(cpu.total(), count))
    }

    /// The fields common to all loads.
    pub fn report(&self, bench: &str, operation: &str, count: usize) -> Map<String, Value> {
        let line = json!({
            "bench": bench,
            "operations": count,
            "operation": operation,
            "wall_s": rounded(self.wall.as_secs_f64()),
            "per_s": rounded(count as f64 / self.wall.as_secs_f64()),
            "server_cpu_us_each": self.cpu_us_per(count).map(rounded),
            "server_kernel_us_each": self.cpu.map(|cpu| rounded(us_per(cpu.kernel, count))),
            "server_rss_mib": self.rss_mib.map(rounded),
        });
        match line {
            Value::Object(fields) => fields,
            _ => unreachable!("the macro above makes an object"),
        }
    }
}

fn us_per(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Rounds to three decimals, which exceeds the precision of the measurement.
pub fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Client latencies of the operations.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds a latency.
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds the latencies of another worker.
    pub fn extend(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    /// Number of latencies.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds `p50_ms` and `p99_ms` to a report.
    pub fn report(mut self, into: &mut Map<String, Value>) {
        self.0.sort_unstable();
        for (name, percent) in [("p50_ms", 50), ("p99_ms", 99)] {
            let at = self.0.get(self.0.len() * percent / 100);
            into.insert(name.to_owned(), json!(at.map(|latency| rounded(latency.as_secs_f64() * 1e3))));
        }
    }
}

#[cfg(test)]
mod tests;
