//! What a cluster that has stopped left on the machine: nothing, or it is a defect.

use std::{fs, path::Path};

/// Everything that still mentions `root`: processes, mounts, control groups, network interfaces of ours.
pub fn of(root: &Path) -> Vec<String> {
    let root = root.to_string_lossy();
    let mut found = processes(&root);
    found.extend(mounts(&root));
    found
}

/// Processes with the directory on their command line, or working inside it.
pub fn processes(root: &str) -> Vec<String> {
    process_ids(root).into_iter().map(|(pid, line)| format!("process {pid}: {line}")).collect()
}

/// Process ids and command lines that mention the directory.
pub fn process_ids(root: &str) -> Vec<(i32, String)> {
    let me = std::process::id() as i32;
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse::<i32>().ok())
        .filter(|pid| *pid != me)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned();
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let ours = line.contains(root) || cwd.to_string_lossy().starts_with(root);
            ours.then_some((pid, line))
        })
        .collect()
}

fn mounts(root: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|target| target.starts_with(root)))
        .map(|line| format!("mount {line}"))
        .collect()
}

/// Last resort after a failure: kills what runs and unmounts what is mounted below the directory.
pub fn sweep(root: &Path) {
    let text = root.to_string_lossy();
    for _ in 0..20 {
        let left = process_ids(&text);
        if left.is_empty() {
            break;
        }
        for (pid, _) in left {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended on its own meanwhile.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for line in mounts(&text).iter().rev() {
        if let Some(target) = line.split(' ').nth(2) {
            // Lazy, so that a mount inside another does not hold it.
            let _ = std::process::Command::new("umount").args(["-l", target]).status();
        }
    }
}
