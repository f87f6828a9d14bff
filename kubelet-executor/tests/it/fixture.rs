//! A fixture for the executor: a directory, an in-memory agent and API, and a way to kill the executor.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use kernel_model::{
    executor::Event,
    resources::Resources,
    task::{TaskInfo, TaskState, TaskStatus},
};
use kubelet_executor::{
    Config, ExitReason, RunError, RuntimeChoice, Setup, agent::fake::FakeAgent, api::fake::FakeApi,
    runtime::Runtime,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::client::NodeClient;

/// Time limit of every wait.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// One executor and its environment.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub agent: Arc<FakeAgent>,
    pub api: Arc<FakeApi>,
    fake: Option<Arc<dyn Runtime>>,
    running: Option<RunningExecutor>,
    /// The third byte of the Pod CIDR: tests run in parallel.
    pub subnet: u8,
    /// `stop_grace_max_ms` of the configuration.
    pub stop_grace_max_ms: Option<u64>,
}

struct RunningExecutor {
    runtime: tokio::runtime::Runtime,
    stop: CancellationToken,
    end: tokio::task::JoinHandle<Result<ExitReason, RunError>>,
}

impl Fixture {
    pub fn new(fake: Option<Arc<dyn Runtime>>) -> Self {
        let dir = tempfile::Builder::new().prefix("cat").tempdir().unwrap();
        write_certificates(dir.path());
        static NEXT: AtomicU8 = AtomicU8::new(77);
        let subnet = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            dir,
            agent: Arc::default(),
            api: Arc::default(),
            fake,
            running: None,
            subnet,
            stop_grace_max_ms: None,
        }
    }

    pub fn config(&self) -> Config {
        let root = self.dir.path();
        serde_json::from_value(json!({
            "node_name": "n1", "node_ip": "127.0.0.1", "root_dir": root.join("node"),
            "api_server": "https://127.0.0.1:1", "pod_cidr": format!("10.244.{}.0/24", self.subnet),
            "ca_file": root.join("ca.crt"), "cert_file": root.join("node.crt"), "key_file": root.join("node.key"),
            "stop_grace_max_ms": self.stop_grace_max_ms,
        }))
        .unwrap()
    }

    pub fn node_dir(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    /// Replaces the cluster CA and every certificate in place.
    pub fn renew_certificates(&self) {
        write_certificates(self.dir.path());
    }

    /// A client of the node's server that presents one of the fixture's certificates.
    pub fn node_client(&self, certificate: &str) -> NodeClient {
        NodeClient::with(certificate, self.dir.path(), &self.node_endpoint())
    }

    /// A client of the node's server without a certificate.
    pub fn client_with_token(&self, token: Option<&str>) -> NodeClient {
        NodeClient::with_token(token, self.dir.path(), &self.node_endpoint())
    }

    fn node_endpoint(&self) -> String {
        let port = std::fs::read_to_string(self.node_dir().join("server.port")).unwrap();
        format!("127.0.0.1:{}", port.trim())
    }

    /// Starts the executor; its agent is the same every time.
    pub fn start(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let setup = Setup {
            config: self.config(),
            link: self.agent.clone(),
            api: self.api.clone(),
            runtime: match &self.fake {
                Some(fake) => RuntimeChoice::Given(fake.clone()),
                None => RuntimeChoice::Configured,
            },
            host_ip: "127.0.0.1".to_owned(),
            recovery_timeout: TIMEOUT,
        };
        let end = runtime.spawn(kubelet_executor::start(setup, stop.clone()));
        self.running = Some(RunningExecutor { runtime, stop, end });
        wait("the executor to subscribe", || self.send_event(Event::Heartbeat));
    }

    /// Ends the executor as SIGKILL would: operations in progress stop in the middle.
    pub fn kill(&mut self) {
        self.agent.disconnect();
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    /// Stops the node, as SIGTERM does.
    pub fn stop(&mut self) -> ExitReason {
        let running = self.running.take().expect("it was started");
        running.stop.cancel();
        let end = running.runtime.block_on(running.end).unwrap().unwrap();
        running.runtime.shutdown_timeout(Duration::from_secs(1));
        end
    }

    pub fn send_event(&self, event: Event) -> bool {
        self.block_on(self.agent.send_event(event))
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.running.as_ref().expect("it was started").runtime.block_on(future)
    }

    pub fn launch(&self, pod: &Value) {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let task = TaskInfo {
            name: uid.to_owned(),
            task_id: uid.into(),
            agent_id: "a".into(),
            resources: Resources::default(),
            zero_resources: Vec::new(),
            executor: None,
            command: None,
            kill_grace: None,
            max_completion_time: None,
            image: None,
            data: pod.to_string().into(),
            labels: Default::default(),
            extra: Default::default(),
        };
        assert!(self.send_event(Event::Launch { task: task.into() }));
    }

    pub fn kill_pod(&self, uid: &str, grace_s: u64) {
        assert!(
            self.send_event(Event::Kill { task_id: uid.into(), grace: Some(Duration::from_secs(grace_s)) })
        );
    }

    pub fn update(&self, uid: &str) -> Option<TaskStatus> {
        self.agent.updates().into_iter().rev().find(|update| update.task_id.as_str() == uid)
    }

    pub fn status(&self, uid: &str) -> Value {
        let update = self.update(uid);
        let data = update.map(|update| serde_json::from_slice::<Value>(&update.data).unwrap_or_default());
        data.unwrap_or_default()["status"].clone()
    }

    pub fn wait_for_status(&self, uid: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status(uid);
            if test(&status) {
                return status;
            }
            assert!(begun.elapsed() < TIMEOUT, "{what}: {status:#}\n{}", self.containerd_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn wait_for_state(&self, uid: &str, state: TaskState) {
        wait(&format!("{uid} to be {state:?}"), || {
            self.update(uid).is_some_and(|update| update.state == state)
        });
    }

    /// Waits for an Event; Events are recorded asynchronously.
    pub fn wait_for_event(&self, reason: &str, message: &str) {
        wait(&format!("the event {reason} {message}"), || {
            self.api.state().events.iter().any(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_deref().is_some_and(|text| text.starts_with(message))
            })
        });
    }

    fn containerd_log(&self) -> String {
        let log =
            std::fs::read_to_string(self.node_dir().join("containerd/containerd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Fixture {
    /// Leaves nothing on the machine, even if the test failed.
    fn drop(&mut self) {
        if self.running.is_none() {
            if self.fake.is_some() || !self.node_dir().join("containerd/containerd.pid").exists() {
                return;
            }
            if std::thread::panicking() {
                self.start();
            } else {
                return;
            }
        }
        let running = self.running.take().expect("checked above");
        running.stop.cancel();
        let _ = running.runtime.block_on(async { tokio::time::timeout(TIMEOUT, running.end).await });
        running.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

pub fn wait(what: &str, test: impl Fn() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < TIMEOUT, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn pod(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": { "app": name }, "generation": 1 },
        "spec": spec,
    })
}

fn write_certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "ca");
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    std::fs::write(dir.join("ca.crt"), ca_certificate.pem()).unwrap();
    for (file, name, organization) in [
        ("node", "system:node:n1", "system:nodes"),
        ("client", "kube-apiserver-kubelet-client", "system:masters"),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}
