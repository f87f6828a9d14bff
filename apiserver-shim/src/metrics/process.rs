//! The standard process metrics of Prometheus clients.

use procfs::process::Process;
use procfs::{ProcError, WithCurrentSystemInfo};
use prometheus::core::Collector;
use prometheus::proto::MetricType;

use super::families::{Family, FamilyOptions, Scraped};

const fn family(name: &'static str, help: &'static str, kind: MetricType) -> FamilyOptions {
    FamilyOptions { name, help, labels: &[], kind }
}

const CPU: FamilyOptions = family(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
    MetricType::COUNTER,
);
const OPEN_FDS: FamilyOptions =
    family("process_open_fds", "Number of open file descriptors.", MetricType::GAUGE);
const MAX_FDS: FamilyOptions =
    family("process_max_fds", "Maximum number of open file descriptors.", MetricType::GAUGE);
const RESIDENT: FamilyOptions =
    family("process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::GAUGE);
const VIRTUAL: FamilyOptions =
    family("process_virtual_memory_bytes", "Virtual memory size in bytes.", MetricType::GAUGE);
const START: FamilyOptions = family(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    MetricType::GAUGE,
);

/// The metrics of this process; none on machines without `/proc`.
pub fn collector() -> impl Collector {
    Scraped::new(&[CPU, OPEN_FDS, MAX_FDS, RESIDENT, VIRTUAL, START], || read().unwrap_or_default())
}

/// The start time alone.
pub fn start_time() -> impl Collector {
    Scraped::new(&[START], || {
        let families = read().unwrap_or_default();
        families.into_iter().filter(|family| family.name() == START.name).collect()
    })
}

fn read() -> Result<Vec<Family>, ProcError> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let boot = procfs::boot_time_secs()? as f64;
    let mut values = vec![
        (CPU, (stat.utime + stat.stime) as f64 / ticks),
        (OPEN_FDS, process.fd_count()? as f64),
        (RESIDENT, stat.rss_bytes().get() as f64),
        (VIRTUAL, stat.vsize as f64),
        (START, boot + stat.starttime as f64 / ticks),
    ];
    if let procfs::process::LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        values.push((MAX_FDS, most as f64));
    }
    let family = |(options, value)| {
        let mut family = Family::new(options);
        family.add(&[], value);
        family
    };
    Ok(values.into_iter().map(family).collect())
}
