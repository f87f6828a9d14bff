//! An agent with real processes and a real master: tasks run, are killed, and survive a crash of the agent.
//!
//! Tasks run in `BINARY command-executor` and `BINARY default-executor`. Here the binary is a script that runs this test
//! program again, in which the test `builtin_executor_entry` is the executor.

// Everything here is test code, but clippy recognises only functions marked as tests.
#![allow(clippy::unwrap_used)]

#[path = "api/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "agent/cluster.rs"]
mod cluster;
#[path = "agent/default_executor.rs"]
mod default_executor;
#[path = "agent/files.rs"]
mod files;
#[path = "agent/http.rs"]
mod http;
#[path = "agent/nested.rs"]
mod nested;
#[path = "agent/nested_lives.rs"]
mod nested_lives;
#[path = "agent/nested_refusals.rs"]
mod nested_refusals;
#[path = "agent/state.rs"]
mod state;
#[path = "agent/users.rs"]
mod users;
#[path = "agent/volumes.rs"]
mod volumes;

use std::{fs, time::Duration};

use kernel::agent::ShutdownKind;
use kernel_model::task::TaskState::*;

use cluster::Cluster;

#[test]
fn builtin_executor_entry() {
    if let Ok(verb) = std::env::var("BUILTIN_EXECUTOR") {
        let code = match verb.as_str() {
            "default-executor" => kernel::builtin_executor::run_default(),
            "nested-container" => nested_container(),
            _ => kernel::builtin_executor::run_command(),
        };
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// The processes of a nested container. The code of the exit is that of `enter`, which returns only if it fails.
fn nested_container() -> std::process::ExitCode {
    let arguments = std::env::var("BUILTIN_ARGUMENTS").unwrap();
    let (verb, directory) = arguments.split_once(' ').unwrap();
    let directory = std::path::Path::new(directory);
    match verb {
        "supervise" => kernel::supervisor::supervise(directory),
        _ => kernel::supervisor::enter(directory),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_task_runs_to_its_end() {
    let mut cluster = Cluster::start().await;
    cluster.launch("t1", "echo hello from $MESOS_EXECUTOR_ID; exit 0").await;
    assert_eq!(cluster.states_until_end("t1").await, [Starting, Running, Finished]);
    let sandbox = cluster.sandbox("t1");
    assert!(fs::read_to_string(sandbox.join("stdout")).unwrap().contains("hello from t1"));
    cluster.launch("t2", "exit 7").await;
    assert_eq!(cluster.states_until_end("t2").await, [Starting, Running, Failed]);
    assert_eq!(cluster.last.message.as_deref(), Some("Command exited with status 7"));
    assert!(!cluster.last.extra.is_empty(), "the agent tells the container");
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_gives_grace_and_then_ends_all_of_the_group() {
    let mut cluster = Cluster::start().await;
    cluster.launch("t1", "trap 'echo asked' TERM; touch ready; sleep 1000 & while :; do sleep 1; done").await;
    cluster.wait_for_file("t1", "ready").await;
    cluster.kill("t1", Duration::from_secs(2)).await;
    assert_eq!(cluster.states_until_end("t1").await, [Starting, Running, Killing, Killed]);
    assert_eq!(cluster.last.message.as_deref(), Some("Command terminated with signal Killed"));
    let output = fs::read_to_string(cluster.sandbox("t1").join("stdout")).unwrap();
    assert!(output.contains("asked"));
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_survives_a_crash_of_its_agent() {
    let mut cluster = Cluster::start().await;
    cluster.launch("t1", "echo $$ >> pids; while ! test -e go; do sleep 0.05; done").await;
    cluster.wait_for_file("t1", "pids").await;
    assert_eq!(cluster.next_state("t1").await, Starting);
    assert_eq!(cluster.next_state("t1").await, Running);
    cluster.crash_agent().await;
    fs::write(cluster.sandbox("t1").join("go"), "").unwrap();
    cluster.wait_for_exit("t1").await;
    cluster.restart_agent().await;
    assert_eq!(cluster.next_state("t1").await, Finished);
    let pids = fs::read_to_string(cluster.sandbox("t1").join("pids")).unwrap();
    assert_eq!(pids.lines().count(), 1, "the task was started once");
    cluster.launch("t2", "true").await;
    assert_eq!(cluster.states_until_end("t2").await, [Starting, Running, Finished]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_ends_every_task() {
    let mut cluster = Cluster::start().await;
    cluster.launch("t1", "touch ready; sleep 1000").await;
    cluster.wait_for_file("t1", "ready").await;
    cluster.stop_agent(ShutdownKind::StopTasks).await;
    cluster.no_process_left().await;
    cluster.restart_agent().await;
    assert_eq!(cluster.states_until_end("t1").await.last(), Some(&Killed));
}

#[tokio::test(flavor = "multi_thread")]
async fn launch_failures_have_messages() {
    let mut cluster = Cluster::start().await;
    cluster.launch_with("t1", |task| {
        let command = task.command.as_mut().unwrap();
        command.user = Some("nobody-of-this-name".into());
    });
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("t1").await, [Failed]);
    let message = cluster.last.message.clone().unwrap();
    assert_eq!(message, "user 'nobody-of-this-name' does not exist on this machine");
}

/// Unsupported features are refused, never ignored.
#[tokio::test(flavor = "multi_thread")]
async fn unsupported_features_are_refused() {
    use kernel_wire::v1::{self, container_info, environment, linux_info, network_info};
    let container = || v1::ContainerInfo { r#type: container_info::Type::Mesos as i32, ..Default::default() };
    let mapping = network_info::PortMapping { host_port: 1, container_port: 1, protocol: None };
    let network = |name: Option<&str>, port_mappings| v1::NetworkInfo {
        name: name.map(str::to_owned),
        port_mappings,
        ..Default::default()
    };
    let linux = v1::LinuxInfo { ipc_mode: Some(linux_info::IpcMode::Private as i32), ..Default::default() };
    let refused = [
        (
            "named networks",
            v1::ContainerInfo { network_infos: vec![network(Some("n"), vec![])], ..container() },
        ),
        (
            "named networks",
            v1::ContainerInfo { network_infos: vec![network(None, vec![mapping])], ..container() },
        ),
        ("host names of containers", v1::ContainerInfo { hostname: Some("h".into()), ..container() }),
        (
            "resource limits of processes",
            v1::ContainerInfo { rlimit_info: Some(Default::default()), ..container() },
        ),
        ("terminals of tasks", v1::ContainerInfo { tty_info: Some(Default::default()), ..container() }),
        ("private shared memory segments", v1::ContainerInfo { linux_info: Some(linux), ..container() }),
    ];
    let mut cluster = Cluster::start().await;
    let extra = |container| {
        let task = v1::TaskInfo { container: Some(container), ..Default::default() };
        kernel_wire::prost::Message::encode_to_vec(&task).into()
    };
    for (number, (what, container)) in refused.into_iter().enumerate() {
        let id = format!("r{number}");
        cluster.launch_with(&id, |task| task.extra = extra(container));
        cluster.flush().await;
        assert_eq!(cluster.states_until_end(&id).await, [Failed], "{what}");
        let message = cluster.last.message.clone().unwrap();
        assert_eq!(message, format!("{what} are not supported yet"));
    }
    let docker = v1::ContainerInfo { r#type: container_info::Type::Docker as i32, ..container() };
    cluster.launch_with("no-docker", |task| task.extra = extra(docker));
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("no-docker").await, [Failed]);
    let message = cluster.last.message.as_deref();
    assert_eq!(message, Some("Invalid ContainerInfo: 'docker' must be set if the type is DOCKER"));
    let secret =
        environment::Variable { name: "S".into(), secret: Some(Default::default()), ..Default::default() };
    let environment = Some(v1::Environment { variables: vec![secret] });
    let command = v1::CommandInfo { environment, ..Default::default() };
    cluster.launch_with("s", |task| {
        task.command.as_mut().unwrap().extra = kernel_wire::prost::Message::encode_to_vec(&command).into();
    });
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("s").await, [Failed]);
    // A container without special features is a plain process.
    let plain = v1::ContainerInfo { network_infos: vec![network(None, vec![])], ..container() };
    cluster.launch_with("plain", |task| task.extra = extra(plain));
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("plain").await.last(), Some(&Finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_are_reported_and_kill_unhealthy_tasks() {
    use kernel_wire::{
        prost::Message,
        v1::{self, HealthCheck, check_info, health_check},
    };
    let command = |line: &str| v1::CommandInfo { value: Some(line.into()), ..Default::default() };
    let health = HealthCheck {
        r#type: Some(health_check::Type::Command as i32),
        command: Some(command("test $A = b && test -e ok")),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.1),
        // Results before the task runs do not count.
        grace_period_seconds: Some(3600.0),
        consecutive_failures: Some(2),
        ..Default::default()
    };
    let check = v1::CheckInfo {
        r#type: Some(check_info::Type::Command as i32),
        command: Some(check_info::Command { command: command("test -e passes || exit 7") }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.1),
        ..Default::default()
    };
    let mut cluster = Cluster::start().await;
    cluster.launch_with("t1", |task| {
        let requested = v1::TaskInfo { health_check: Some(health), check: Some(check), ..Default::default() };
        task.extra = requested.encode_to_vec().into();
        let command = task.command.as_mut().unwrap();
        command.environment = vec![("A".into(), "b".into())];
        command.value = Some("touch ok passes; while :; do sleep 0.05; done".into());
    });
    cluster.flush().await;
    let (mut healthy, mut codes) = (Vec::new(), Vec::new());
    loop {
        let state = cluster.next_state("t1").await;
        let status = v1::TaskStatus::decode(cluster.last.extra.clone()).unwrap();
        healthy.push((state, cluster.last.healthy));
        if state == Running {
            let checked = status.check_status.expect("there from the first");
            codes.push(checked.command.unwrap().exit_code);
        }
        // One after the other: the kill after bad health would also end the checks.
        let well = codes.contains(&Some(0)) && healthy.contains(&(Running, Some(true)));
        if well && codes.last() == Some(&Some(7)) {
            let _ = fs::remove_file(cluster.sandbox("t1").join("ok"));
        } else if well {
            let _ = fs::remove_file(cluster.sandbox("t1").join("passes"));
        }
        if state.is_terminal() {
            break;
        }
    }
    assert_eq!(codes[0], None);
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(7)), "{codes:?}");
    assert_eq!(healthy[..2], [(Starting, None), (Running, None)]);
    let unhealthy = healthy.iter().filter(|seen| **seen == (Running, Some(false))).count();
    assert!(healthy.contains(&(Running, Some(true))) && unhealthy >= 2, "{healthy:?}");
    assert_eq!(healthy.last(), Some(&(Killed, Some(false))));
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uris_are_downloaded() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let found = String::from_utf8_lossy(&request[..read]).starts_with("GET /dir/program?x=1 ");
            let answer = match found {
                true => "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n#!/bin/sh\necho fetched",
                false => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut cluster = Cluster::start().await;
    let uri = |value: String| kernel_model::executor::Uri {
        value,
        executable: true,
        extract: true,
        cache: false,
        output_file: None,
    };
    cluster.launch_with("t1", |task| {
        let command = task.command.as_mut().unwrap();
        command.value = Some("./program".into());
        command.uris = vec![uri(format!("http://{address}/dir/program?x=1"))];
    });
    cluster.flush().await;
    assert_eq!(cluster.states_until_end("t1").await.last(), Some(&Finished));
    assert!(fs::read_to_string(cluster.sandbox("t1").join("stdout")).unwrap().contains("fetched"));
    for (id, value, why) in [
        ("t2", format!("http://{address}/nothing"), "404"),
        ("t3", "hdfs://x/y".to_owned(), "only absolute paths"),
        ("t4", format!("http://{address}/"), "is not a file name"),
    ] {
        cluster.launch_with(id, |task| task.command.as_mut().unwrap().uris = vec![uri(value)]);
        cluster.flush().await;
        assert_eq!(cluster.states_until_end(id).await, [Failed]);
        let message = cluster.last.message.clone().unwrap();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_short_tasks_take_seconds() {
    let mut cluster = Cluster::start().await;
    let begun = std::time::Instant::now();
    let names: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    for name in &names {
        cluster.launch_with(name, |_| {});
    }
    cluster.flush().await;
    for name in &names {
        assert_eq!(cluster.states_until_end(name).await.last(), Some(&Finished), "{name}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "200 tasks took {:?}", begun.elapsed());
    eprintln!("200 tasks took {:?}", begun.elapsed());
    cluster.no_process_left().await;
}
