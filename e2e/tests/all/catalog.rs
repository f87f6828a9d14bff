//! The real kubectl uses a resource that is installed while the server runs. The API server runs in this process, without
//! nodes.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use apiserver_shim::server::{ApiHandle, ApiOptions, BuildInfo, start};
use e2e::{
    cluster::client,
    program::{self, Output, wait_for},
};
use serde_json::json;
use shim_pki::{Pki, ServerNames, directory, kubeconfig};

#[path = "../../../apiserver-shim/tests/api/gadget.rs"]
mod gadget;

pub struct Kubectl<'a>(&'a Path);

impl Kubectl<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(client("kubectl"));
        command.arg("--kubeconfig").arg(self.0.join("kubeconfig"));
        command.arg("--cache-dir").arg(self.0.join("cache")).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        program::run(&mut self.command(arguments), Duration::from_secs(60))
    }

    pub fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(arguments)?.ok()
    }
}

/// The words of a line.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// An API server of this process, without nodes, and the kubeconfig of its administrator.
pub struct ApiServer {
    data: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    handle: ApiHandle,
}

impl ApiServer {
    pub fn start() -> anyhow::Result<ApiServer> {
        let data = tempfile::tempdir()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let pki = Arc::new(Pki::open_or_create(data.path(), SystemTime::now())?);
        let handle = runtime.block_on(start(ApiOptions {
            store: Arc::new(store::MemoryStore::new()),
            pki: pki.clone(),
            listen: "127.0.0.1:0".parse()?,
            advertise: [127, 0, 0, 1].into(),
            names: ServerNames::default(),
            audit: None,
            admission: Default::default(),
            authentication: Default::default(),
            service_cidr: Default::default(),
            build: BuildInfo::default(),
            flags: Default::default(),
        }))?;
        let admin = pki.authority.issue_admin(SystemTime::now())?;
        let url = format!("https://{}", handle.local_addr());
        let rendered = kubeconfig::render(&url, pki.authority.certificate(), &admin);
        directory::merge_kubeconfig(&data.path().join("kubeconfig"), &rendered, None)?;
        Ok(ApiServer { data, runtime, handle })
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn kubectl(&self) -> Kubectl<'_> {
        Kubectl(self.data.path())
    }

    pub fn stop(self) {
        self.runtime.block_on(self.handle.shutdown());
    }
}

#[test]
fn kubectl_uses_a_resource_that_is_installed_meanwhile() -> anyhow::Result<()> {
    let api = ApiServer::start()?;
    let (runtime, server, kubectl) = (&api.runtime, &api.handle, api.kubectl());
    assert!(!kubectl.run(&["get", "gadgets"])?.status.success(), "gadgets are not served yet");
    runtime.block_on(server.registry().install(gadget::definitions()))?;
    let resources = kubectl.ok(&["api-resources", "--api-group=example.com", "--no-headers"])?;
    assert_eq!(words(&resources), ["gadgets", "gd", "example.com/v1", "true", "Gadget"]);
    let explained = kubectl.ok(&["explain", "gadgets.spec.size"])?;
    assert!(explained.contains("How large the gadget is."), "{explained}");

    let object = json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": 2}});
    let file = api.data().join("gadget.json");
    fs::write(&file, object.to_string())?;
    kubectl.ok(&["create", "-f", &file.to_string_lossy()])?;
    let mut watch =
        kubectl.command(&["get", "gadgets", "--watch", "--output=name"]).stdout(Stdio::piped()).spawn()?;
    let mut wait = kubectl
        .command(&["wait", "--for=jsonpath={.status.phase}=Ready", "gadget/one", "--timeout=60s"])
        .stdout(Stdio::null())
        .spawn()?;
    let ready = r#"{"status":{"phase":"Ready"}}"#;
    kubectl.ok(&["patch", "gd", "one", "--type=merge", "--subresource=status", "--patch", ready])?;
    assert!(wait.wait()?.success(), "kubectl wait sees the status");
    kubectl.ok(&["patch", "gd", "one", "--type=merge", "--patch", r#"{"spec":{"size":5}}"#])?;
    let table = kubectl.ok(&["get", "gd"])?;
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SIZE", "PHASE", "AGE"]);
    assert_eq!(rows[1][..3], ["one", "5", "Ready"]);
    kubectl.ok(&["delete", "gadget", "one"])?;

    assert!(runtime.block_on(server.registry().uninstall(&gadget::GADGETS)));
    // Its watches end.
    wait_for("the end of the watch", Duration::from_secs(30), || Ok(watch.try_wait()?))?;
    let gone = kubectl.run(&["get", "gadgets"])?;
    assert!(!gone.status.success(), "{gone:?}");
    let resources = kubectl.ok(&["api-resources", "--no-headers"])?;
    assert!(!resources.contains("gadgets") && resources.contains("deployments"), "{resources}");
    api.stop();
    Ok(())
}
