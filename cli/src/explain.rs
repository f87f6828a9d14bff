//! `catamaran explain`: why a Pod, task, framework or role waits. The master and the API server decide; this asks and prints.

use std::process::ExitCode;

use anyhow::Context;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    arguments::verbs::{ExplainArguments, Explained},
    data_directory::{
        elsewhere,
        running::{self, RunningProcess},
    },
    kube_client::KubeClient,
    mesos_client::{MesosClient, credentials_file},
    output, runtime,
};

/// The annotation of a Namespace that names its role; `k8s/NAMESPACE` without it.
const ROLE_ANNOTATION: &str = "catamaran.dev/role";

/// `catamaran explain`.
pub fn run(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    runtime::block_on(async {
        let explained = explain(arguments).await?;
        arguments.node.output.print(|| text(&explained), || explained.clone());
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Who is asked.
struct Cluster {
    process: Option<RunningProcess>,
    master: String,
    client: MesosClient,
}

impl Cluster {
    fn of(arguments: &ExplainArguments) -> anyhow::Result<Self> {
        let data = running::choose(arguments.node.data_dir.as_deref());
        let process = match running::of(&data) {
            // Who names the master needs no cluster on this machine.
            Err(_) if arguments.master.is_some() => None,
            found => found?,
        };
        let running = process.as_ref().and_then(|process| process.master.clone());
        let master = arguments.master.clone().or(running);
        let master = master.with_context(|| elsewhere::no_master(&data))?;
        let known = process.as_ref().map(|process| process.credentials.as_path());
        let file = credentials_file(arguments.mesos_credentials.as_deref(), known, &data);
        Ok(Self { client: MesosClient::new(Some(&file))?, process, master })
    }

    async fn ask(&self, key: &str, name: &str) -> anyhow::Result<Value> {
        self.client.get(&self.master, &format!("/explain?{key}={}", escaped(name))).await
    }

    fn kube(&self, arguments: &ExplainArguments) -> anyhow::Result<KubeClient> {
        let running = self.process.as_ref().and_then(|process| process.kubeconfig.clone());
        let path = arguments.kubeconfig.clone().or(running);
        KubeClient::new(
            &path
                .context("no API server runs on this machine: name its kubeconfig with --kubeconfig PATH")?,
        )
    }
}

async fn explain(arguments: &ExplainArguments) -> anyhow::Result<Value> {
    let cluster = Cluster::of(arguments)?;
    let name = arguments.name.as_str();
    match arguments.kind {
        Explained::Framework => cluster.ask("framework", name).await,
        Explained::Role => cluster.ask("role", name).await,
        Explained::Task => cluster.ask("task", name).await,
        Explained::Pod => {
            let kube = cluster.kube(arguments)?;
            let (namespace, name) = name.split_once('/').unwrap_or((arguments.namespace.as_str(), name));
            let pod = kube
                .get(&format!("/api/v1/namespaces/{}/pods/{}", escaped(namespace), escaped(name)))
                .await?;
            let of_namespace = kube.get(&format!("/api/v1/namespaces/{}", escaped(namespace))).await?;
            let role = role_of(&of_namespace, namespace);
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let is_bound = pod["spec"]["nodeName"].is_string();
            let is_done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            // What the kernel knows: of a Pod without a node its role, of others their task.
            let of_kernel = match (is_bound, is_done) {
                (_, true) => None,
                (false, _) => Some(cluster.ask("role", &role).await),
                (true, _) => Some(cluster.ask("task", uid).await),
            };
            Ok(pod_report(&pod, &role, of_kernel.and_then(Result::ok)))
        }
    }
}

/// The role whose resources the Pods of a Namespace use.
fn role_of(namespace: &Value, name: &str) -> String {
    let annotated = namespace["metadata"]["annotations"][ROLE_ANNOTATION].as_str();
    annotated.map_or_else(|| format!("k8s/{name}"), str::to_owned)
}

/// What a Pod waits for: the scheduler's condition, the conditions that nodes report as false, the containers that wait, and what the
/// kernel says of its role or task.
fn pod_report(pod: &Value, role: &str, of_kernel: Option<Value>) -> Value {
    let status = &pod["status"];
    let mut reasons = Vec::new();
    let mut add = |source: &str, reason: &Value, message: &Value| {
        reasons.push(json!({"source": source, "reason": reason, "message": message}));
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for gate in list(&pod["spec"]["schedulingGates"]) {
        add("scheduler", &json!("SchedulingGated"), &gate["name"]);
    }
    for condition in list(&status["conditions"]) {
        if condition["type"] == "PodScheduled" && condition["status"] == "False" {
            add("scheduler", &condition["reason"], &condition["message"]);
        }
    }
    for kind in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for container in list(&status[kind]) {
            let waiting = &container["state"]["waiting"];
            if waiting.is_object() {
                let source = format!("container {}", container["name"].as_str().unwrap_or_default());
                add(&source, &waiting["reason"], &waiting["message"]);
            }
        }
    }
    let metadata = &pod["metadata"];
    json!({
        "pod": {
            "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"],
            "phase": status["phase"], "node": pod["spec"]["nodeName"], "role": role,
        },
        "reasons": reasons,
        "kernel": of_kernel,
    })
}

fn text(explained: &Value) -> String {
    let mut out = String::new();
    if explained["pod"].is_object() {
        let pod = &explained["pod"];
        let place = match pod["node"].as_str() {
            Some(node) => format!("on {node}"),
            None => "without a node".to_owned(),
        };
        let shown = |key: &str| pod[key].as_str().unwrap_or_default();
        out += &format!(
            "Pod {}/{} is {} {place}; its role is {}\n\n",
            shown("namespace"),
            shown("name"),
            shown("phase"),
            shown("role")
        );
        out += &reasons_table("SOURCE", &explained["reasons"], |reason| cell(&reason["source"]));
        out += &format!("\n{}", text(&explained["kernel"]));
        return out;
    }
    if let Some(frameworks) = explained["frameworks"].as_array() {
        out += &clients_table(frameworks);
    }
    if explained["role"].is_object() {
        let role = &explained["role"];
        let rows = [
            ["ROLE", "WEIGHT", "SHARE", "ALLOCATED", "OFFERED", "RESERVED"].map(str::to_owned).to_vec(),
            vec![
                cell(&role["name"]),
                role["weight"].to_string(),
                percent(&role["dominant_share"]),
                amounts(&role["allocated"]),
                amounts(&role["offered"]),
                amounts(&role["reserved"]),
            ],
        ];
        out += &format!("{}\n", output::table(&rows));
        out += &clients_table(role["frameworks"].as_array().map_or(&[], Vec::as_slice));
        if let Some(more) = role["omitted"].as_u64().filter(|more| *more > 0) {
            out += &format!("and {more} more\n");
        }
    }
    for task in explained["tasks"].as_array().into_iter().flatten() {
        let place = task["hostname"].as_str().or(task["agent_id"].as_str()).unwrap_or_default();
        let (id, framework, state) = (cell(&task["id"]), cell(&task["framework"]), cell(&task["state"]));
        out += &format!("task {id} of framework {framework} on {place} is {state}\n\n");
        out += &reasons_table("TASK", &task["reasons"], |_| id.clone());
    }
    out
}

/// Frameworks in their roles, a row for each reason.
fn clients_table(clients: &[Value]) -> String {
    let mut rows =
        vec![["FRAMEWORK", "ROLE", "SHARE", "OFFERS", "REASON", "MESSAGE"].map(str::to_owned).to_vec()];
    for client in clients {
        let reasons = client["reasons"].as_array().map_or(&[][..], Vec::as_slice);
        let head = [
            cell(&client["name"]),
            cell(&client["role"]),
            percent(&client["dominant_share"]),
            client["offers"].to_string(),
        ];
        if reasons.is_empty() {
            let waits = [String::new(), "waits for nothing: it may get an offer any moment".to_owned()];
            rows.push(head.into_iter().chain(waits).collect());
            continue;
        }
        for reason in reasons {
            rows.push(
                head.iter().cloned().chain([cell(&reason["reason"]), cell(&reason["message"])]).collect(),
            );
        }
    }
    if rows.len() == 1 { "no frameworks\n".to_owned() } else { output::table(&rows) }
}

fn reasons_table(head: &str, reasons: &Value, source: impl Fn(&Value) -> String) -> String {
    let reasons = reasons.as_array().map_or(&[][..], Vec::as_slice);
    if reasons.is_empty() {
        return "it waits for nothing\n".to_owned();
    }
    let mut rows = vec![[head, "REASON", "MESSAGE"].map(str::to_owned).to_vec()];
    rows.extend(reasons.iter().map(|r| vec![source(r), cell(&r["reason"]), cell(&r["message"])]));
    output::table(&rows)
}

fn cell(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn percent(share: &Value) -> String {
    format!("{:.1} %", share.as_f64().unwrap_or(0.0) * 100.0)
}

fn amounts(of: &Value) -> String {
    let all = of.as_object().into_iter().flatten();
    let all: Vec<String> = all.map(|(name, amount)| format!("{name}:{amount}")).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

/// What a name escapes as a part of a URL: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as a part of a URL.
fn escaped(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_pod_shows_what_scheduler_containers_and_kernel_say() {
        let pod = json!({
            "metadata": {"namespace": "ns", "name": "p", "uid": "u"},
            "spec": {},
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}],
                "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}],
            },
        });
        let role = json!({"role": {
            "name": "k8s/ns", "weight": 1.0, "dominant_share": 0.25, "allocated": {"cpus": 1.0}, "offered": {}, "reserved": {},
            "frameworks": [{"name": "kubernetes", "role": "k8s/ns", "dominant_share": 0.25, "offers": 0,
                "reasons": [{"reason": "FILTER", "agents": 1, "message": "1 agent(s) have free only what was declined"}]}],
        }});
        let report = pod_report(&pod, "k8s/ns", Some(role));
        expect![[r#"
            Pod ns/p is Pending without a node; its role is k8s/ns

            SOURCE        REASON          MESSAGE
            scheduler     Unschedulable   0/1 nodes
            container c   ErrImagePull    no such image

            ROLE     WEIGHT   SHARE    ALLOCATED   OFFERED   RESERVED
            k8s/ns   1.0      25.0 %   cpus:1.0    -         -

            FRAMEWORK    ROLE     SHARE    OFFERS   REASON   MESSAGE
            kubernetes   k8s/ns   25.0 %   0        FILTER   1 agent(s) have free only what was declined
        "#]]
        .assert_eq(&text(&report));
    }

    #[test]
    fn tasks_and_frameworks_that_wait_for_nothing_say_so() {
        let task = json!({"tasks": [{"id": "t", "framework": "f", "agent_id": "a", "hostname": null, "state": "TASK_RUNNING", "reasons": []}]});
        assert_eq!(text(&task), "task t of framework f on a is TASK_RUNNING\n\nit waits for nothing\n");
        let idle = json!({"frameworks": [{"name": "f", "role": "*", "dominant_share": 0.0, "offers": 1, "reasons": []}]});
        assert!(
            text(&idle).contains("f           *      0.0 %   1                 waits for nothing"),
            "{}",
            text(&idle)
        );
    }

    #[test]
    fn names_are_escaped_and_roles_found() {
        assert_eq!(escaped("k8s/ä b"), "k8s%2F%C3%A4%20b");
        let annotated = json!({"metadata": {"annotations": {ROLE_ANNOTATION: "team/a"}}});
        assert_eq!(
            (role_of(&annotated, "ns"), role_of(&json!({}), "ns")),
            ("team/a".to_owned(), "k8s/ns".to_owned())
        );
    }
}
