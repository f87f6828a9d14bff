//! What the agent refuses of calls about containers, and to whom.

use std::{fs, time::Duration};

use kernel_model::task::TaskState::*;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, custom_executor},
    nested::{Input, below, call, running, send, shell, wait},
};

const DISABLED: &str = "I/O switchboard server was disabled for this container";

fn invalid(why: &str) -> (u16, String) {
    (400, format!("Failed to validate agent::Call: {why}"))
}

fn of(id: &Value) -> Value {
    json!({ "container_id": id })
}

/// A container below one that does not exist.
fn unknown() -> Value {
    json!({ "value": "a", "parent": { "value": "nobody" } })
}

type Case = (&'static str, Value, (u16, String));

/// Calls that fail to validate.
fn invalid_calls(task: &Value, child: &Value) -> Vec<Case> {
    let with = |container: Value| {
        let mut launch = shell(child, "true");
        launch["container"] = container;
        launch
    };
    let secret = json!({ "container_id": child, "command": { "value": "a",
        "environment": { "variables": [{ "name": "A", "type": "SECRET" }] } } });
    vec![
        (
            "LAUNCH_NESTED_CONTAINER",
            shell(task, "true"),
            invalid("Expecting 'launch_nested_container.container_id.parent' to be present"),
        ),
        (
            "WAIT_NESTED_CONTAINER",
            of(&json!({ "value": "a.b", "parent": task })),
            invalid(
                "'wait_nested_container.container_id' is invalid: 'ContainerID.value' 'a.b' contains invalid characters",
            ),
        ),
        (
            "KILL_CONTAINER",
            of(&json!({ "value": "" })),
            invalid("'kill_container.container_id' is invalid: ID must not be empty"),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            secret,
            invalid(
                "'launch_nested_container.command' is invalid: \
            Environment variable 'A' of type 'SECRET' must have a secret set",
            ),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            json!({ "container_id": child, "command": { "value": "a",
                "environment": { "variables": [{ "name": "A", "value": "b\0" }] } } }),
            invalid("'launch_nested_container.command' is invalid: It contains a NUL character"),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            shell(child, "a\0b"),
            invalid("'launch_nested_container.command' is invalid: It contains a NUL character"),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            with(json!({ "type": "DOCKER" })),
            invalid(
                "'launch_nested_container.container' \
            is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo",
            ),
        ),
        (
            "LAUNCH_NESTED_CONTAINER_SESSION",
            with(json!({ "type": "MESOS", "linux_info": { "share_cgroups": false } })),
            invalid(
                "'launch_nested_container_session.container.linux_info' is invalid: 'share_cgroups' cannot be set \
            to 'false' for nested container sessions",
            ),
        ),
    ]
}

/// Calls that ask for what is not there.
fn refused_calls(task: &Value, child: &Value) -> Vec<Case> {
    let root = task["value"].as_str().unwrap();
    let with = |container: Value| {
        let mut launch = shell(child, "true");
        launch["container"] = container;
        launch
    };
    let image =
        json!({ "type": "MESOS", "mesos": { "image": { "type": "DOCKER", "docker": { "name": "a" } } } });
    let unknown = unknown();
    vec![
        (
            "LAUNCH_NESTED_CONTAINER",
            with(json!({ "type": "DOCKER", "docker": { "image": "a" } })),
            (400, "The provided ContainerInfo is not supported".into()),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            with(image.clone()),
            (
                400,
                "a container of an image needs resources: it does not share those of the container above"
                    .into(),
            ),
        ),
        (
            "LAUNCH_NESTED_CONTAINER_SESSION",
            with(image),
            (400, "a session is in the image of the container above".into()),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            shell(&unknown, "true"),
            (400, "Parent container nobody does not exist".into()),
        ),
        (
            "LAUNCH_NESTED_CONTAINER_SESSION",
            shell(&unknown, "true"),
            (400, "Parent container nobody does not exist".into()),
        ),
        (
            "LAUNCH_NESTED_CONTAINER",
            of(child),
            (400, "the launch is invalid: the container has no command".into()),
        ),
        ("WAIT_CONTAINER", of(&unknown), (404, "Container nobody.a cannot be found".into())),
        (
            "KILL_NESTED_CONTAINER",
            of(&unknown),
            (404, "Container 'nobody.a' cannot be found (or is already killed)".into()),
        ),
        ("REMOVE_NESTED_CONTAINER", of(&unknown), (500, "Unknown root container".into())),
        ("ATTACH_CONTAINER_OUTPUT", of(&unknown), (404, "Container nobody.a cannot be found".into())),
        ("ATTACH_CONTAINER_OUTPUT", of(child), (500, format!("Unknown container {root}.child"))),
        ("ATTACH_CONTAINER_OUTPUT", of(task), (500, DISABLED.into())),
        (
            "LAUNCH_NESTED_CONTAINER",
            json!({ "container_id": child, "command": { "value": "a", "user": "no-such-user" } }),
            (400, "user 'no-such-user' does not exist on this machine".into()),
        ),
    ]
}

/// Texts and codes of a genuine Mesos agent.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_are_refused_with_mesos_texts() {
    let mut cluster = Cluster::start().await;
    let task = running(&mut cluster, "t").await;
    let child = below(&task, "child");
    for (kind, content, expected) in
        invalid_calls(&task, &child).into_iter().chain(refused_calls(&task, &child))
    {
        assert_eq!(call(&cluster, kind, content.clone()).await, expected, "{kind} {content}");
    }
    let missing = Input::open(&cluster, &unknown()).await;
    assert_eq!(missing.answer().await, "404 Container nobody.a cannot be found");
    let disabled_input = Input::open(&cluster, &task).await;
    assert_eq!(disabled_input.answer().await, format!("500 {DISABLED}"));
    // Not to be started: it ends at once.
    let absent = json!({ "container_id": child, "command": { "shell": false, "value": "/no/such" } });
    assert_eq!(call(&cluster, "LAUNCH_NESTED_CONTAINER", absent).await.0, 200);
    assert_eq!(wait(&cluster, &child).await, json!({ "exit_status": 1 << 8 }));
    let errors = fs::read_to_string(cluster.sandbox("t").join("containers/child/stderr")).unwrap();
    assert!(errors.contains("Failed to execute command: No such file or directory"), "{errors}");
    cluster.kill("t", Duration::from_secs(1)).await;
    assert_eq!(cluster.states_until_end("t").await, [Killing, Killed]);
    cluster.no_process_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_uses_the_containers_below_its_own() {
    let mut cluster = Cluster::start().await;
    let other = running(&mut cluster, "t").await;
    cluster.launch_with("x", |task| {
        task.command = None;
        let line = "echo $MESOS_EXECUTOR_AUTHENTICATION_TOKEN > token; touch ready; sleep 1000";
        task.executor = Some(custom_executor("x", line).into());
    });
    cluster.flush().await;
    cluster.wait_for_file("x", "ready").await;
    let token = fs::read_to_string(cluster.sandbox("x").join("token")).unwrap();
    let bearer = format!("\r\nAuthorization: Bearer {}", token.trim());
    let run = fs::canonicalize(cluster.sandbox("x")).unwrap();
    let own = json!({ "value": run.file_name().unwrap().to_str().unwrap() });
    let child = below(&own, "child");
    let mut as_other = shell(&child, "true");
    as_other["command"]["user"] = json!("nobody");
    let id = json!({ "container_id": child });
    let table = [
        ("LAUNCH_NESTED_CONTAINER", as_other, 403),
        ("LAUNCH_NESTED_CONTAINER", shell(&child, "exit 3"), 200),
        ("WAIT_NESTED_CONTAINER", id.clone(), 200),
        ("REMOVE_NESTED_CONTAINER", id, 200),
        ("LAUNCH_NESTED_CONTAINER", shell(&below(&other, "child"), "true"), 403),
        ("KILL_CONTAINER", json!({ "container_id": own }), 403),
        ("GET_STATE", json!({}), 403),
    ];
    for (kind, content, status) in table {
        let answer = send(&cluster, kind, content.clone(), &bearer).await;
        let given = answer.status;
        assert_eq!(given, status, "{kind} {content} {}", answer.text().await);
    }
    let answer = send(&cluster, "GET_STATE", json!({}), "\r\nAuthorization: Bearer x").await;
    assert_eq!(answer.status, 401);
    cluster.end_executor("x").await;
    cluster.kill("t", Duration::from_secs(1)).await;
    cluster.no_process_left().await;
}
