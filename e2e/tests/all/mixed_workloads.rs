//! Pods and a real framework's tasks on one agent: one resource ledger, and fair shares when both want more.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::{Cluster, binary},
    etcd::Etcd,
    framework::Framework,
    program::{self, wait_for},
};
use serde_json::{Value, json};

use crate::walk::walk;

/// Scalars of a list of Mesos resources, by name.
fn scalars(resources: &Value) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for resource in resources.as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (resource["name"].as_str(), resource["scalar"]["value"].as_f64()) {
            *sums.entry(name.to_owned()).or_insert(0.0) += value;
        }
    }
    sums
}

/// The ledger of the first agent: total and allocated resources.
pub fn ledger(cluster: &Cluster) -> anyhow::Result<(BTreeMap<String, f64>, BTreeMap<String, f64>)> {
    let answer = cluster.operator(r#"{"type":"GET_AGENTS"}"#)?;
    let agent = answer.pointer("/get_agents/agents/0").context("there is no agent")?;
    Ok((scalars(&agent["total_resources"]), scalars(&agent["allocated_resources"])))
}

/// Asserts that no more is allocated than the agent has.
pub fn assert_ledger_holds(cluster: &Cluster) -> anyhow::Result<()> {
    let (total, allocated) = ledger(cluster)?;
    for (name, amount) in &allocated {
        let has = total.get(name).copied().unwrap_or_default();
        assert!(*amount <= has + 1e-6, "{name}: {amount} allocated of {has}");
    }
    Ok(())
}

fn allocatable_cpu(cluster: &Cluster) -> anyhow::Result<f64> {
    let nodes = cluster.json(&["get", "nodes"])?;
    let text = nodes.pointer("/items/0/status/allocatable/cpu").and_then(Value::as_str).unwrap_or("0");
    Ok(match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>()? / 1000.0,
        None => text.parse()?,
    })
}

/// The README's steps, while a framework runs 200 short tasks and a long one on the same agent.
fn mixed_workload(cluster: &Cluster) -> anyhow::Result<()> {
    let free = wait_for("the node", Duration::from_secs(20), || {
        Ok(Some(allocatable_cpu(cluster)?).filter(|c| *c > 0.0))
    })?;
    let framework =
        Framework::start(cluster, "batch", &["--tasks", "200", "--long", "600", "--hold", "--cpus", "0.1"])?;
    wait_for("the long task to run", Duration::from_secs(60), || {
        let long = |e: &Value| {
            e["task"].as_str().is_some_and(|t| t.starts_with("long")) && e["state"] == "TASK_RUNNING"
        };
        Ok(framework.events().iter().any(long).then_some(()))
    })
    .with_context(|| framework.tail())?;
    wait_for("the node to show what is left", Duration::from_secs(30), || {
        Ok((allocatable_cpu(cluster)? <= free - 0.1 + 1e-6).then_some(()))
    })?;
    assert_ledger_holds(cluster)?;
    walk(cluster)?;
    assert_ledger_holds(cluster)?;
    wait_for("200 finished tasks", Duration::from_secs(240), || {
        assert_ledger_holds(cluster)?;
        Ok((framework.count("TASK_FINISHED") == 200).then_some(()))
    })
    .with_context(|| framework.tail())?;
    for (name, starts) in framework.starts()? {
        assert_eq!(starts, 1, "{name} was started {starts} times");
    }
    let described = cluster.kubectl(&["describe", "nodes"])?;
    assert!(described.contains("Allocatable:") && described.contains("Allocated resources:"), "{described}");
    Ok(())
}

#[test]
fn pods_and_tasks_share_one_agent() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    mixed_workload(&cluster)?;
    cluster.stop_and_assert_clean()
}

#[test]
fn pods_and_tasks_share_one_agent_on_etcd() -> anyhow::Result<()> {
    let etcd = Etcd::start()?;
    let store = format!("etcd={}", etcd.endpoint);
    let cluster = Cluster::up(&["--example-images", "--store", &store])?;
    mixed_workload(&cluster)?;
    cluster.stop_and_assert_clean()
}

/// Forty Pods of a fifth of a CPU each: more than the agent has.
const WANT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: want}
spec:
  replicas: 40
  selector: {matchLabels: {app: want}}
  template:
    metadata: {labels: {app: want}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: sleep
          image: localhost/catamaran/example-web:1
          command: [sleep, "3600"]
          resources: {requests: {cpu: 200m, memory: 16Mi}}
"#;

/// Pods in role `k8s/default` (weight 2 of `k8s`) and a framework with weight 1, both with more demand than the agent has:
/// shares converge to 2 to 1.
#[test]
fn shares_converge_to_the_weights() -> anyhow::Result<()> {
    let cluster =
        Cluster::up(&["--example-images", "--resources", "cpus:6;mem:6000", "--weights", "k8s=2,batch=1"])?;
    let framework = Framework::start(
        &cluster,
        "greedy",
        &["--tasks", "60", "--forever", "--seconds", "2", "--cpus", "0.2"],
    )?;
    wait_for("the framework to have much", Duration::from_secs(60), || {
        let (_, allocated) = ledger(&cluster)?;
        Ok((allocated.get("cpus").copied().unwrap_or_default() > 4.0).then_some(()))
    })?;
    let want = cluster.directory().join("want.yaml");
    std::fs::write(&want, WANT)?;
    cluster.kubectl(&["apply", "-f", &want.to_string_lossy()])?;
    let shares = wait_for("shares of two to one", Duration::from_secs(120), || {
        let pods = running_pods(&cluster)?;
        // The executor holds 0.1 CPUs of the Pods' share.
        let share = pods * 0.2 + 0.1;
        Ok((share >= 3.6).then_some(share))
    })
    .with_context(|| framework.tail())?;
    // One or two Pods more are possible while the framework holds an offer for longer than the rest waits.
    assert!((3.6..=4.7).contains(&shares), "Pods hold {shares} of 6 CPUs; their fair share is 4");
    // The shares stay there while tasks start and end.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_secs(1));
        let share = running_pods(&cluster)? * 0.2 + 0.1;
        assert!((3.5..=4.9).contains(&share), "Pods hold {share} of 6 CPUs; their fair share is 4");
        assert_ledger_holds(&cluster)?;
    }
    drop(framework);
    cluster.kubectl(&["delete", "deployment", "want"])?;
    cluster.stop_and_assert_clean()
}

fn running_pods(cluster: &Cluster) -> anyhow::Result<f64> {
    let list = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=want",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    ])?;
    Ok(list.lines().count() as f64)
}

/// Groups of tasks in default executors, launched by a framework that knows nothing of us, beside Pods.
#[test]
fn task_groups_run_beside_pods() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    let arguments = ["--tasks", "12", "--group", "3", "--seconds", "0.5", "--cpus", "0.05"];
    let mut groups = Framework::start(&cluster, "groups", &arguments)?;
    groups.wait(Duration::from_secs(90))?;
    assert_eq!((groups.count("TASK_FINISHED"), groups.count("TASK_RUNNING")), (12, 12), "{}", groups.tail());
    assert!(groups.starts()?.iter().all(|(_, starts)| *starts == 1), "{}", groups.tail());
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    assert_ledger_holds(&cluster)?;
    cluster.stop_and_assert_clean()
}

/// Creates a Pod that requests `cpu` and runs until it is told to stop.
fn create_pod(cluster: &Cluster, namespace: &str, name: &str, cpu: &str) -> anyhow::Result<()> {
    create_pod_with(cluster, namespace, name, &json!({ "requests": { "cpu": cpu } }))
}

fn create_pod_with(cluster: &Cluster, namespace: &str, name: &str, resources: &Value) -> anyhow::Result<()> {
    let container = json!({ "name": name, "image": "localhost/catamaran/example-web:1", "resources": resources,
        "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done"] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [container], "terminationGracePeriodSeconds": 3 } });
    let file = cluster.directory().join(format!("{name}.json"));
    std::fs::write(&file, pod.to_string())?;
    cluster.kubectl(&["create", "-n", namespace, "-f", &file.to_string_lossy()]).map(drop)
}

/// What an operator reserves for the role of a namespace is for its Pods alone, also after a restart.
#[test]
fn reservations_are_for_the_pods_of_their_role() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images", "--resources", "cpus:2;mem:2000"])?;
    let credentials: Value = serde_json::from_str(&std::fs::read_to_string(cluster.credentials())?)?;
    let principal = credentials["credentials"][0]["principal"].clone();
    let reserved = json!([{
        "name": "cpus", "type": "SCALAR", "scalar": { "value": 1.2 },
        "reservations": [{ "type": "DYNAMIC", "role": "k8s/team", "principal": principal }],
    }]);
    let agents = cluster.operator(r#"{"type":"GET_AGENTS"}"#)?;
    let agent_id = agents.pointer("/get_agents/agents/0/agent_info/id").context("there is no agent")?;
    let call = |kind: &str| {
        let part = json!({ "agent_id": agent_id, "resources": reserved });
        json!({ "type": kind, kind.to_lowercase(): part }).to_string()
    };
    let (status, text) = cluster.post_to_master("/api/v1", &call("RESERVE_RESOURCES"))?;
    assert_eq!(status, 202, "{text}");
    cluster.kubectl(&["create", "namespace", "team"])?;
    create_pod(&cluster, "default", "other", "1")?;
    create_pod(&cluster, "team", "own", "1")?;
    let ready = ["wait", "--for=condition=Ready", "pod/own", "-n", "team", "--timeout=60s"];
    cluster.kubectl(&ready)?;
    let phase =
        |cluster: &Cluster| cluster.kubectl(&["get", "pod", "other", "-o", "jsonpath={.status.phase}"]);
    assert_eq!(phase(&cluster)?, "Pending");
    assert_ledger_holds(&cluster)?;

    cluster.stop("up")?;
    cluster.start("up")?;
    wait_for("the pod to be ready again", Duration::from_secs(90), || {
        let pod = cluster.json(&["get", "pod", "own", "-n", "team"])?;
        let main = &pod["status"]["containerStatuses"][0];
        Ok((main["restartCount"] == 1 && main["ready"] == true).then_some(()))
    })?;
    assert_eq!(phase(&cluster)?, "Pending");
    cluster.kubectl(&["delete", "pod", "own", "-n", "team"])?;
    assert_eq!(phase(&cluster)?, "Pending", "its CPUs are still reserved");
    let (status, text) = cluster.post_to_master("/api/v1", &call("UNRESERVE_RESOURCES"))?;
    assert_eq!(status, 202, "{text}");
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/other", "--timeout=60s"])?;
    cluster.stop_and_assert_clean()
}

/// A limit of the role of a namespace binds its Pods, which say so, and is kept over a restart.
#[test]
fn a_quota_limits_the_pods_of_a_namespace() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images", "--resources", "cpus:4;mem:4000"])?;
    let limit = |cluster: &Cluster, cpus: f64| {
        let config = json!({ "role": "k8s/team", "limits": { "cpus": { "value": cpus } } });
        let call = json!({ "type": "UPDATE_QUOTA", "update_quota": { "quota_configs": [config] } });
        let (status, text) = cluster.post_to_master("/api/v1", &call.to_string())?;
        anyhow::ensure!(status == 200, "{text}");
        Ok(())
    };
    // One Pod; the executor of the namespace's Pods holds 0.1 CPUs. What is left is too little for another.
    limit(&cluster, 0.6)?;
    cluster.kubectl(&["create", "namespace", "team"])?;
    let ready = |cluster: &Cluster, namespace: &str, name: &str| {
        let pod = format!("pod/{name}");
        cluster.kubectl(&["wait", "-n", namespace, "--for=condition=Ready", &pod, "--timeout=60s"])
    };
    create_pod(&cluster, "team", "first", "400m")?;
    ready(&cluster, "team", "first")?;
    create_pod(&cluster, "team", "second", "400m")?;
    create_pod(&cluster, "default", "elsewhere", "400m")?;
    ready(&cluster, "default", "elsewhere")?;
    wait_for("the reason for which the second waits", Duration::from_secs(30), || {
        // The condition has what the kernel said when it was written, which may have been something else.
        let described = cluster.kubectl(&["describe", "pod", "second", "-n", "team"])?;
        let mut explain = Command::new(binary());
        explain.args(["explain", "pod", "team/second", "--data-dir"]).arg(cluster.data());
        let explained = program::run(&mut explain, Duration::from_secs(20))?.ok()?;
        Ok((described + &explained).contains("QUOTA_LIMIT").then_some(()))
    })?;
    cluster.stop("up")?;
    cluster.start("up")?;
    wait_for("the quota after the restart", Duration::from_secs(30), || {
        let quota = cluster.operator(r#"{"type":"GET_QUOTA"}"#)?.to_string();
        Ok((quota.contains("k8s/team") && quota.contains("0.6")).then_some(()))
    })?;
    ready(&cluster, "team", "first")?;
    let phase = cluster.kubectl(&["get", "pod", "second", "-n", "team", "-o", "jsonpath={.status.phase}"])?;
    assert_eq!(phase, "Pending");
    limit(&cluster, 1.0)?;
    ready(&cluster, "team", "second")?;
    cluster.stop_and_assert_clean()
}

/// A role's object sets what binds Pods and tasks, follows what operators set, shows who holds what, and outlives a restart.
#[test]
fn roles_are_objects() -> anyhow::Result<()> {
    let mut cluster = Cluster::up(&["--example-images", "--resources", "cpus:4;mem:4000"])?;
    let apply = |cluster: &Cluster, spec: Value| {
        let object = json!({ "apiVersion": "catamaran.dev/v1alpha1", "kind": "Role", "metadata": { "name": "team" }, "spec": spec });
        let file = cluster.directory().join("role.json");
        std::fs::write(&file, object.to_string())?;
        cluster.kubectl(&["apply", "-f", &file.to_string_lossy()])
    };
    let role = |cluster: &Cluster, path: &str| {
        let object = cluster.json(&["get", "roles.catamaran.dev", "team"])?;
        Ok::<_, anyhow::Error>(object.pointer(path).cloned().unwrap_or_default())
    };
    // One Pod; the executor of the namespace's Pods holds 0.1 CPUs.
    apply(&cluster, json!({ "role": "k8s/team", "weight": 3, "limit": { "cpu": "500m" } }))?;
    let condition = ["wait", "roles.catamaran.dev/team", "--for=condition=Applied", "--timeout=30s"];
    cluster.kubectl(&condition)?;
    assert!(cluster.operator(r#"{"type":"GET_QUOTA"}"#)?.to_string().contains("k8s/team"));
    cluster.kubectl(&["create", "namespace", "team"])?;
    create_pod(&cluster, "team", "first", "400m")?;
    cluster.kubectl(&["wait", "-n", "team", "--for=condition=Ready", "pod/first", "--timeout=60s"])?;
    let pods = json!({ "cpu": "500m", "memory": "64Mi" });
    wait_for("the object to show the Pod", Duration::from_secs(20), || {
        Ok((role(&cluster, "/status/allocated/pods")? == pods).then_some(()))
    })?;
    create_pod(&cluster, "team", "second", "400m")?;

    // An operator raises the weight; the limit stays.
    let update = json!({ "type": "UPDATE_WEIGHTS",
        "update_weights": { "weight_infos": [{ "role": "k8s/team", "weight": 5.0 }] } });
    let (status, text) = cluster.post_to_master("/api/v1", &update.to_string())?;
    assert_eq!(status, 200, "{text}");
    wait_for("the object to follow the operator", Duration::from_secs(20), || {
        Ok((role(&cluster, "/spec/weight")? == 5).then_some(()))
    })?;
    assert_eq!(role(&cluster, "/spec/limit/cpu")?, "500m");
    let phase = ["get", "pod", "second", "-n", "team", "-o", "jsonpath={.status.phase}"];
    assert_eq!(cluster.kubectl(&phase)?, "Pending");

    // A task of a framework in another role is a task.
    let tasks =
        Framework::start(&cluster, "batch", &["--tasks", "0", "--long", "600", "--hold", "--cpus", "0.1"])?;
    wait_for("the task in the listing", Duration::from_secs(60), || {
        let roles = cluster.json(&["get", "roles.catamaran.dev"])?;
        let of_batch = |role: &&Value| role["spec"]["role"] == "batch";
        let batch = roles["items"].as_array().into_iter().flatten().find(of_batch);
        Ok(batch.filter(|role| role["status"]["allocated"]["tasks"]["cpu"].is_string()).map(drop))
    })
    .with_context(|| tasks.tail())?;
    drop(tasks);

    cluster.stop("up")?;
    cluster.start("up")?;
    assert_eq!(cluster.kubectl(&phase)?, "Pending");
    apply(&cluster, json!({ "role": "k8s/team", "weight": 3, "limit": { "cpu": 1 } }))?;
    cluster.kubectl(&["wait", "-n", "team", "--for=condition=Ready", "pod/second", "--timeout=90s"])?;
    cluster.kubectl(&["delete", "roles.catamaran.dev", "team"])?;
    assert!(!cluster.operator(r#"{"type":"GET_QUOTA"}"#)?.to_string().contains("k8s/team"));
    cluster.stop_and_assert_clean()
}

/// On a machine with GPUs, Pods run with and without them, `catamaran run` does, and each GPU is held once.
#[test]
fn pods_run_on_machines_with_gpus() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images", "--resources", "cpus:4;mem:3000;disk:1000;gpus:2"])?;
    let gpus =
        |count: &str| json!({ "requests": { "cpu": "100m" }, "limits": { "catamaran.dev/gpu": count } });
    create_pod(&cluster, "default", "plain", "100m")?;
    create_pod_with(&cluster, "default", "one", &gpus("1"))?;
    let ready = |pod: &str| cluster.kubectl(&["wait", "--for=condition=Ready", pod, "--timeout=60s"]);
    ready("pod/plain")?;
    ready("pod/one")?;
    assert_eq!(ledger(&cluster)?.1.get("gpus"), Some(&1.0));
    create_pod_with(&cluster, "default", "two", &gpus("2"))?;
    let data = cluster.data();
    let mut run = Command::new(binary());
    run.args(["run", "--data-dir"]).arg(&data).args(["--cpus", "0.1", "echo beside them"]);
    let output = program::run(&mut run, Duration::from_secs(60))?.ok()?;
    assert_eq!(output, "beside them\n");
    assert_eq!(cluster.kubectl(&["get", "pod", "two", "-o", "jsonpath={.status.phase}"])?, "Pending");
    cluster.kubectl(&["delete", "pod", "one"])?;
    ready("pod/two")?;
    assert_eq!(ledger(&cluster)?.1.get("gpus"), Some(&2.0));
    assert_ledger_holds(&cluster)?;
    cluster.stop_and_assert_clean()
}
