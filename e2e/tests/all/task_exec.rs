//! Programs in the containers of running tasks, as `mesos task exec` starts them: through the agent's calls for nested containers.

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::Context;
use e2e::{
    cluster::{Cluster, repository},
    framework::Framework,
    program::wait_for,
};
use rustix::process::Signal;

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the client with these options and this input.
pub(crate) fn exec(cluster: &Cluster, options: &[&str], input: &str) -> anyhow::Result<Output> {
    let directory = std::env::var("CATAMARAN_FRAMEWORKS").context("CATAMARAN_FRAMEWORKS is not set")?;
    let mut client = cluster
        .command(Path::new(&directory).join("bin/python"))
        .arg(repository().join("e2e/frameworks/task_exec.py"))
        .args(["--master", &cluster.mesos])
        .arg("--credentials")
        .arg(cluster.credentials())
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    client.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    Ok(client.wait_with_output()?)
}

/// Output, errors and exit code.
pub(crate) fn told(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn programs_run_in_the_containers_of_tasks() -> anyhow::Result<()> {
    let cluster = Cluster::up(&[])?;
    let framework = Framework::start(&cluster, "long", &["--tasks", "0", "--long", "3600"])?;
    let task = wait_for("the task to run", DEADLINE, || {
        let running = framework.events().into_iter().find(|event| event["state"] == "TASK_RUNNING");
        Ok(running.and_then(|event| event["task"].as_str().map(str::to_owned)))
    })
    .with_context(|| framework.tail())?;
    let text = |text: &str| text.to_owned();
    let shell = |line: &str| exec(&cluster, &[&task, "/bin/sh", "-c", line], "");
    let output = shell("pwd -P; echo oops >&2; exit 7")?;
    let (out, errors, code) = told(&output);
    assert_eq!((errors, code), (text("oops\n"), Some(7)));
    assert!(out.ends_with("/runs/latest\n") || out.contains("/runs/"), "in the task's sandbox: {out}");
    assert_eq!(told(&shell("kill -9 $$")?).2, Some(128 + 9));
    // Much of both directions.
    let input = "0123456789abcde\n".repeat(65_536);
    let output = exec(&cluster, &["--interactive", &task, "/bin/cat"], &input)?;
    assert!(output.status.success() && output.stdout == input.as_bytes(), "{} bytes", output.stdout.len());
    let tty = ["--interactive", "--tty", "24x80", &task, "/bin/sh", "-c", "stty size; tty; cat"];
    let (out, _, code) = told(&exec(&cluster, &tty, "typed\n")?);
    // The terminal shows what is typed, perhaps before the program has printed something.
    assert!(out.contains("24 80\r\n/dev/pts/") && out.matches("typed\r\n").count() == 2, "{out:?}");
    assert_eq!(code, Some(0));
    // A client that is gone takes its program with it.
    let directory = std::env::var("CATAMARAN_FRAMEWORKS")?;
    let mut client = cluster
        .command(Path::new(&directory).join("bin/python"))
        .arg(repository().join("e2e/frameworks/task_exec.py"))
        .args(["--master", &cluster.mesos, "--credentials"])
        .arg(cluster.credentials())
        .args([&task, "/bin/sleep", "98765"])
        .stdout(Stdio::null())
        .spawn()?;
    let sleeps = |line: &str| line.contains("98765") && !line.contains("task_exec");
    let found = || Ok(cluster.process("the session", sleeps).ok());
    let pid = wait_for("the session to run", DEADLINE, found)?;
    e2e::member::send(client.id(), Signal::KILL);
    client.wait()?;
    let stat = format!("/proc/{pid}/stat");
    wait_for("the session to end", DEADLINE, || Ok((!Path::new(&stat).exists()).then_some(())))?;
    drop(framework);
    cluster.stop_and_assert_clean()
}
