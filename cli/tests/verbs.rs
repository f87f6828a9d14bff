//! The binary's verbs as its users call them, as far as they need neither root nor a container runtime.

// Clippy does not recognize helper functions of tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a debug build on a busy machine may take for anything.
const DEADLINE: Duration = Duration::from_secs(120);

fn catamaran(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
    command.args(arguments).env_remove("CATAMARAN_LOG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    catamaran(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A running `catamaran server`.
struct Server {
    process: Child,
    mesos: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let (api, mesos) = (free_address(), free_address());
        let log = fs::File::create(data.with_extension("log")).unwrap();
        let process =
            catamaran(&["server", "--data-dir", path(data), "--api-listen", &api, "--mesos-listen", &mesos])
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
        let mut server = Self { process, mesos };
        let start = Instant::now();
        while !fs::read_to_string(data.with_extension("log")).unwrap().contains("ready: ") {
            assert!(server.process.try_wait().unwrap().is_none() && start.elapsed() < DEADLINE, "not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success(), "an orderly stop");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn wrong_flags_are_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for (flags, refusal) in [
        (&["--hostname", "Has_Underscore"][..], "'Has_Underscore' is not a valid node name"),
        (&["--hostname", ""], "'' is not a valid node name"),
        (&["--attributes", "rack"], "--attributes: invalid attribute 'rack': expected NAME:VALUE"),
        (&["--attributes", "rack:"], "--attributes: invalid attribute 'rack:'"),
        (
            &["--attributes", "a:{x,y}"],
            "--attributes: invalid attribute 'a:{x,y}': attributes cannot be sets",
        ),
        (&["--attributes", "a:[5-1]"], "--attributes: invalid attribute 'a:[5-1]': the range 5-1 ends"),
        (&["--attributes", "a:1;a:2"], "--attributes: the attribute 'a' is given twice"),
        (&["--resources", "cpu:4"], "--resources: unknown resource 'cpu'; did you mean 'cpus'?"),
        (&["--resources", "mem:8Gi"], "--resources: bad resource 'mem:8Gi'"),
        (&["--resources", "ports:31000"], "--resources: 'ports' is a list of ranges"),
        (&["--shutdown-grace-period=-1"], "expected seconds"),
        (&["--stop-timeout", "soon"], "expected seconds"),
    ] {
        let (master, none) = (["--master", "127.0.0.1:1"], [""; 0]);
        for (verb, more) in [("up", &none[..]), ("agent", &master)] {
            let arguments = [&[verb, "--data-dir", path(&data)], more, flags].concat();
            let output = run(&arguments);
            assert!(!output.status.success(), "{arguments:?}");
            assert!(stderr(&output).contains(refusal), "{arguments:?}: {}", stderr(&output));
        }
    }
    assert!(!data.exists(), "nothing was started");
}

#[test]
fn a_bad_log_filter_is_an_error() {
    for (filter, refusal) in [
        (
            "inof",
            "CATAMARAN_LOG: 'inof' is neither a level (off, error, warn, info, debug, trace) nor a part",
        ),
        ("kernel=loud", "CATAMARAN_LOG: 'loud' in 'kernel=loud' is no level"),
    ] {
        let output = catamaran(&["status"]).env("CATAMARAN_LOG", filter).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(refusal), "{}", stderr(&output));
    }
    let output = catamaran(&["status"]).env("CATAMARAN_LOG", "info,kernel=debug").output().unwrap();
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_running_server_is_backed_up_and_restored_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let [data, restored, backup, again] =
        ["data", "restored", "backup.tar", "again.tar"].map(|name| directory.path().join(name));
    let server = Server::start(&data);
    let output = run(&["backup", path(&backup), "--data-dir", path(&data), "--output", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&output);
    assert!(report["keys"].as_u64().unwrap() > 5 && report["revision"].as_u64().unwrap() > 5, "{report}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(&backup).unwrap().permissions().mode() & 0o777,
        0o600,
        "it has the cluster's keys"
    );

    let refused = run(&["restore", path(&backup), "--data-dir", path(&data)]);
    assert!(stderr(&refused).contains("is not empty"), "{}", stderr(&refused));
    let output = run(&["restore", path(&backup), "--data-dir", path(&restored), "--output", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["revision"], report["revision"]);
    server.stop();

    // A backup of the restored directory, in which nothing runs, has the same store and the same keys.
    let output = run(&["backup", path(&again), "--data-dir", path(&restored), "--output", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let content = |archive: &Path| {
        let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
        let read = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (first, second) = (content(&backup), content(&again));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    assert!(first == second, "the same content");
    assert!(first.contains_key("pki/ca.key") && first.contains_key("store.snapshot"), "{:?}", first.keys());
    Server::start(&restored).stop();

    let cut = fs::read(&backup).unwrap();
    fs::write(&again, &cut[..cut.len() / 2]).unwrap();
    let refused = run(&["restore", path(&again), "--data-dir", path(&directory.path().join("half"))]);
    assert!(!refused.status.success() && stderr(&refused).contains("no backup"), "{}", stderr(&refused));
    assert!(!directory.path().join("half").exists(), "nothing is restored from half a backup");
}

#[test]
fn status_says_what_runs_and_whether_it_is_healthy() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let output = run(&["status", "--data-dir", path(&data), "-o", "json"]);
    assert_eq!((output.status.code(), &json(&output)["running"]), (Some(3), &Value::Bool(false)));
    let server = Server::start(&data);
    let output = run(&["status", "--data-dir", path(&data), "-o", "json"]);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["process"]["verb"], "server");
    assert_eq!(report["process"]["master"], server.mesos);
    let parts: Vec<_> =
        report["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(parts, ["API server", "master"]);
    assert_eq!(report["cluster"]["nodes"], Value::Array(Vec::new()));
    let text = run(&["status", "--data-dir", path(&data)]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("catamaran server ") && text.contains("API server") && text.contains("NODE"),
        "{text}"
    );

    let refused = run(&["uninstall", "--data-dir", path(&data), "--yes"]);
    assert!(stderr(&refused).contains("stop it first"), "{}", stderr(&refused));
    server.stop();
    let output = run(&["status", "--data-dir", path(&data)]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn uninstall_removes_a_data_directory_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let [data, foreign] = ["data", "foreign"].map(|name| directory.path().join(name));
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis"), "").unwrap();
    let refused = run(&["uninstall", "--data-dir", path(&foreign), "--yes"]);
    assert!(stderr(&refused).contains("is no data directory of catamaran"), "{}", stderr(&refused));
    assert!(foreign.join("thesis").exists());
    Server::start(&data).stop();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let config = directory.path().join(".kube/config");
    fs::create_dir(directory.path().join(".kube")).unwrap();
    fs::copy(data.join("kubeconfig"), &config).unwrap();
    let uninstall = |more: &[&str]| {
        let mut command = catamaran(&["uninstall", "--data-dir", path(&data)]);
        command.args(more).env("HOME", directory.path()).env_remove("SUDO_UID").output().unwrap()
    };
    let listed = uninstall(&[]);
    assert_eq!(listed.status.code(), Some(1), "nothing is removed without --yes");
    let plan = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(plan.contains(&format!("would remove: {}", data.display())), "{listed:?}");
    assert!(plan.contains(&format!("contexts of this cluster in {}", config.display())), "{listed:?}");
    assert!(data.exists() && fs::read_to_string(&config).unwrap().contains("name: catamaran"));
    let removed = uninstall(&["--yes", "--output", "json"]);
    assert!(removed.status.success(), "{}", stderr(&removed));
    assert_eq!(json(&removed)["removed"], true);
    assert!(!data.exists() && !fs::read_to_string(&config).unwrap().contains("name: catamaran"));
    assert!(
        run(&["uninstall", "--data-dir", path(&data), "--yes"]).status.success(),
        "a repetition does no harm"
    );
}

#[test]
fn verbs_without_a_cluster_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let data = path(directory.path());
    for (arguments, sentence) in [
        (&["run", "--data-dir", data, "true"][..], "no cluster runs "),
        (&["images", "list", "--data-dir", data], "no agent has run with the data directory"),
        (&["backup", "-", "--data-dir", data], "there is no server's data in"),
        (&["restore", "/nonexistent", "--data-dir", data], "cannot read /nonexistent"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(sentence), "{arguments:?}: {}", stderr(&output));
    }
}
