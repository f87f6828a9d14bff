//! Limits, refusals and texts of cgroups, in directories that stand for them.

use kernel_core::agent::Limits;
use kernel_model::{container_path::ContainerPath, resources::Scalar};

use super::{Cgroups, MemoryExceeded, bytes_text};

fn path() -> ContainerPath {
    ContainerPath::root("c".into())
}

fn limits(cpus: i64, mem: i64) -> Limits {
    Limits { cpus: Scalar::from_units(cpus), mem_mib: Scalar::from_units(mem), revocable_cpus: Scalar::ZERO }
}

#[test]
fn a_container_without_an_amount_is_refused_as_in_mesos() {
    assert_eq!(Cgroups::refusal(limits(1, 1)), None);
    let why = |cpus, mem| Cgroups::refusal(limits(cpus, mem)).unwrap();
    let memory = "Failed to update subsystems: Failed to update subsystem 'memory': No memory resource given";
    assert_eq!(why(1, 0), memory);
    let both = "Failed to update subsystems: Failed to update subsystem 'cpu': No cpus resource given; \
                Failed to update subsystem 'memory': No memory resource given";
    assert_eq!(why(0, 0), both);
}

#[test]
fn revocable_cpus_have_a_low_weight() {
    let root = tempfile::tempdir().unwrap();
    let container = root.path().join("c");
    std::fs::create_dir(&container).unwrap();
    let cgroups = Cgroups::V1 { cpu: root.path().to_owned(), memory: root.path().to_owned(), cpuacct: None };
    for (cpus, revocable, shares) in [(2, 0, "2048"), (0, 2, "20"), (1, 2, "1044"), (0, 0, "2")] {
        let revocable_cpus = Scalar::from_units(revocable);
        cgroups.limit(&"c".into(), Limits { revocable_cpus, ..limits(cpus, 64) });
        assert_eq!(std::fs::read_to_string(container.join("cpu.shares")).unwrap(), shares);
    }
}

#[test]
fn the_memory_limit_of_a_running_container_only_rises() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("c")).unwrap();
    let cgroups = Cgroups::V2 { root: root.path().to_owned() };
    let limit = || std::fs::read_to_string(root.path().join("c/memory.max")).unwrap();
    cgroups.create(&"c".into(), 1, limits(1, 64));
    assert_eq!(limit(), (64 << 20).to_string());
    for (mem, expected) in [(128, 128), (96, 128), (0, 128), (160, 160)] {
        cgroups.limit(&"c".into(), limits(1, mem));
        assert_eq!(limit(), (expected << 20).to_string(), "after {mem} MiB");
    }
}

#[test]
fn the_message_of_an_exceeded_limit_is_that_of_mesos() {
    for (bytes, text) in
        [(0, "0B"), (1, "1B"), (1536, "1536B"), (64 << 10, "64KB"), (32 << 20, "32MB"), (3 << 30, "3GB")]
    {
        assert_eq!(bytes_text(bytes), text);
    }
    let root = tempfile::tempdir().unwrap();
    let cgroups = Cgroups::V2 { root: root.path().to_owned() };
    let container = root.path().join("c");
    std::fs::create_dir(&container).unwrap();
    let write = |name: &str, text: &str| std::fs::write(container.join(name), text).unwrap();
    write("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n");
    assert_eq!(cgroups.memory_exceeded(&path()), None);
    write("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n");
    write("memory.max", "67108864\n");
    write("memory.stat", "anon 5\n");
    let exceeded = cgroups.memory_exceeded(&path()).unwrap();
    assert_eq!(
        exceeded.message(),
        "Memory limit exceeded: Requested: 64MB \nMEMORY STATISTICS: \nanon 5\n\n"
    );
    let exceeded = MemoryExceeded { peak_bytes: Some(65 << 20), ..exceeded };
    let text = "Memory limit exceeded: Requested: 64MB Maximum Used: 65MB\n\nMEMORY STATISTICS: \nanon 5\n\n";
    assert_eq!((exceeded.message().as_str(), exceeded.memory().0), (text, 65_000));
}

#[test]
fn a_cgroup_that_is_there_is_not_taken() {
    let root = tempfile::tempdir().unwrap();
    let [cpu, memory] = ["cpu", "memory"].map(|name| root.path().join(name));
    for controller in [&cpu, &memory] {
        std::fs::create_dir(controller).unwrap();
    }
    std::fs::write(memory.join("tasks"), "").unwrap();
    std::fs::create_dir(memory.join("other")).unwrap();
    // These controllers share a hierarchy.
    let accounting = root.path().join("cpuacct");
    std::os::unix::fs::symlink(&cpu, &accounting).unwrap();
    let cgroups = Cgroups::V1 { cpu: cpu.clone(), memory: memory.clone(), cpuacct: Some(accounting) };
    for id in ["tasks", "other"] {
        let why = cgroups.create_below(&ContainerPath::root(id.into()), None).unwrap_err().to_string();
        assert_eq!(why, format!("The cgroup at '{}' already exists", memory.join(id).display()));
        assert!(!cpu.join(id).exists(), "nothing is left");
    }
    let own = cgroups.create_below(&path(), None).unwrap();
    assert_eq!(own, [cpu.join("c"), memory.join("c")]);
    assert!(cgroups.create_below(&path(), None).is_err());
    // Below a container of the agent nobody else's is.
    let below = path().child("tasks".into());
    for _ in 0..2 {
        assert_eq!(cgroups.create_below(&below, None).unwrap()[0], cpu.join("c/below:tasks"));
    }
}
