//! A cluster under test: its processes, with a directory and addresses of their own, and clients for it.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    leftovers::{self, Owner},
    member::Member,
    network::Network,
    program::{self, Output},
};

/// A running cluster. Dropping it stops it and removes what it left on the machine.
pub struct Cluster {
    /// The file system of the data directory, if it has one of its own. Unmounted before the directory is removed.
    disk: Option<SmallDisk>,
    directory: tempfile::TempDir,
    /// Address of the Kubernetes API.
    pub api: String,
    /// Address of the master's Mesos API.
    pub mesos: String,
    /// Network namespace in which the clients run; `None` for the host's.
    namespace: Option<String>,
    members: Vec<Member>,
    /// Network interfaces, control groups … that existed before the start.
    before: BTreeSet<String>,
    /// The directories of its nodes.
    nodes: Vec<PathBuf>,
    /// Whether the test has come to its end.
    ended: bool,
}

/// How long Linux may take to remove interfaces and control groups that are no longer referenced. A busy machine is slow.
const KERNEL_DEADLINE: Duration = Duration::from_secs(15);

/// An HTTP client for any network namespace, with the credentials of a file if one is named: prints the status, then the body. Python is there for the frameworks.
const POST: &str = "
import base64, json, sys, urllib.error, urllib.request
headers = {'Content-Type': 'application/json'}
if sys.argv[3:]:
    owner = json.load(open(sys.argv[3]))['credentials'][0]
    login = '%(principal)s:%(secret)s' % owner
    headers['Authorization'] = 'Basic ' + base64.b64encode(login.encode()).decode()
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), headers)
try:
    answer = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
sys.stdout.write(answer.read().decode())
";

/// A loopback address with a port that is free now.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The range of the Pods' addresses: one of 1,024 parts of 10.128.0.0/10, by the port of the API, which is no other cluster's.
fn cluster_cidr(api: SocketAddr) -> String {
    let part = api.port() % 1024;
    format!("10.{}.{}.0/20", 128 + part / 16, part % 16 * 16)
}

/// Arguments of an agent of which only an almost empty disk is almost full: it is the machine's, and used by whatever builds there.
fn node_arguments(extra: &[&str]) -> Vec<String> {
    let own = ["--eviction-hard", "nodefs.available<1Mi"];
    let own = if extra.contains(&own[0]) { &[] } else { own.as_slice() };
    own.iter().chain(extra).map(|argument| (*argument).to_owned()).collect()
}

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("CATAMARAN_BINARY")
        .map(PathBuf::from)
        .unwrap_or_else(|| repository().join("target/debug/catamaran"))
}

/// The command prefix that runs a program in a network namespace.
fn in_network(namespace: Option<&str>) -> Vec<String> {
    let starter = |namespace: &str| ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec();
    namespace.map(starter).unwrap_or_default()
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A client that `cargo xtask test` has fetched.
pub fn client(name: &str) -> PathBuf {
    match std::env::var_os("CATAMARAN_CLIENTS") {
        Some(directory) => Path::new(&directory).join(name),
        None => PathBuf::from(name),
    }
}

/// A mounted tmpfs.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mebibytes: u32) -> anyhow::Result<SmallDisk> {
        fs::create_dir_all(at)?;
        let options = format!("size={mebibytes}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        program::run(&mut mount, KERNEL_DEADLINE)?.ok()?;
        Ok(SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The sweep of the cluster may have unmounted it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).stderr(Stdio::null()).status();
    }
}

impl Cluster {
    fn new(api: String, mesos: String, namespace: Option<&str>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cm-e2e-").tempdir_in("/tmp")?;
        let namespace = namespace.map(str::to_owned);
        let nodes = vec![directory.path().join("data/node")];
        Ok(Self {
            disk: None,
            directory,
            api,
            mesos,
            namespace,
            members: Vec::new(),
            before: Owner::of_nodes(&nodes).resources(),
            nodes,
            ended: false,
        })
    }

    /// Starts `catamaran up` with additional arguments.
    pub fn up(extra: &[&str]) -> anyhow::Result<Self> {
        Self::up_by(|_| Vec::new(), extra)
    }

    /// Starts `catamaran up` in a mount namespace in which `file` does not exist.
    pub fn up_without(file: &str, extra: &[&str]) -> anyhow::Result<Self> {
        let (directory, name) = file.rsplit_once('/').context("give the path of a file")?;
        let script = format!(
            "set -e; mkdir $0; mount -t tmpfs tmpfs $0; mkdir $0/upper $0/work; \
             mount -t overlay overlay -o lowerdir={directory},upperdir=$0/upper,workdir=$0/work {directory}; \
             rm {directory}/{name}; exec \"$@\""
        );
        let starter = |hidden: &Path| {
            let hidden = hidden.join("hidden").to_string_lossy().into_owned();
            let unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c"].map(str::to_owned);
            unshare.into_iter().chain([script, hidden]).collect()
        };
        Self::up_by(starter, extra)
    }

    fn up_by(starter: impl FnOnce(&Path) -> Vec<String>, extra: &[&str]) -> anyhow::Result<Self> {
        let mut cluster = Self::new(free_address()?, free_address()?, None)?;
        let mut arguments = cluster.server_arguments("up", &[]);
        arguments.extend(node_arguments(extra));
        // The kubeconfig of whoever runs the tests is not theirs.
        arguments.push("--no-merge".to_owned());
        arguments.extend(["--agent-listen".to_owned(), free_address()?]);
        let member = Member::new("up", cluster.directory(), arguments, starter(cluster.directory()));
        cluster.members.push(member);
        cluster.start("up")?;
        Ok(cluster)
    }

    /// Starts a `server` and an `agent` process.
    pub fn split(extra: &[&str]) -> anyhow::Result<Self> {
        Self::split_with(extra, &["--example-images"])
    }

    /// Starts a `server` and an `agent` process with these additional arguments.
    pub fn split_with(server: &[&str], agent: &[&str]) -> anyhow::Result<Self> {
        let mut cluster = Self::server(server)?;
        cluster.add_agent("agent", &free_address()?, None, agent)?;
        Ok(cluster)
    }

    /// Starts a `server` process and no agent.
    pub fn server(extra: &[&str]) -> anyhow::Result<Self> {
        let mut cluster = Self::new(free_address()?, free_address()?, None)?;
        cluster.add_server(extra)?;
        Ok(cluster)
    }

    /// Starts a `server` whose data directory is on a file system of its own, of this size.
    pub fn server_on_small_disk(mebibytes: u32) -> anyhow::Result<Self> {
        let mut cluster = Self::new(free_address()?, free_address()?, None)?;
        cluster.disk = Some(SmallDisk::mount(&cluster.directory().join("data"), mebibytes)?);
        cluster.add_server(&[])?;
        Ok(cluster)
    }

    /// The data directory of the server.
    pub fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Starts a `server` on the first host of a network.
    pub fn server_on(network: &Network, extra: &[&str]) -> anyhow::Result<Self> {
        let first = Network::FIRST;
        let mut cluster = Self::new(format!("{first}:6443"), format!("{first}:5050"), Some(&network.first))?;
        cluster.add_server(extra)?;
        Ok(cluster)
    }

    /// Starts a `server` and an `agent` on the first host of a network, and another agent on the second.
    pub fn on(network: &Network, extra: &[&str]) -> anyhow::Result<Self> {
        let (first, second) = (Network::FIRST, Network::SECOND);
        let mut cluster = Self::server_on(network, extra)?;
        let images = "--example-images";
        let one = ["--hostname", "node-1", images];
        cluster.add_agent("agent-1", &format!("{first}:5051"), Some(&network.first), &one)?;
        let two = ["--hostname", "node-2", images];
        cluster.add_agent("agent-2", &format!("{second}:5051"), Some(&network.second), &two)?;
        Ok(cluster)
    }

    fn server_arguments(&self, verb: &str, extra: &[&str]) -> Vec<String> {
        let data = self.directory().join("data").to_string_lossy().into_owned();
        let kubeconfig = self.kubeconfig().to_string_lossy().into_owned();
        let mut arguments = vec![verb.to_owned()];
        for (flag, value) in [
            ("--data-dir", &data),
            ("--kubeconfig", &kubeconfig),
            ("--api-listen", &self.api),
            ("--mesos-listen", &self.mesos),
        ] {
            arguments.extend([flag.to_owned(), value.clone()]);
        }
        // Clusters on one machine need Pod addresses of their own; a network namespace has its own routes.
        if let (None, Ok(api)) = (&self.namespace, self.api.parse()) {
            arguments.extend(["--cluster-cidr".to_owned(), cluster_cidr(api)]);
        }
        arguments.extend(extra.iter().map(|s| (*s).to_owned()));
        arguments
    }

    fn add_server(&mut self, extra: &[&str]) -> anyhow::Result<()> {
        let arguments = self.server_arguments("server", extra);
        self.members.push(Member::new(
            "server",
            self.directory.path(),
            arguments,
            in_network(self.namespace.as_deref()),
        ));
        self.start("server")
    }

    fn add_agent(
        &mut self,
        name: &str,
        listen: &str,
        namespace: Option<&str>,
        extra: &[&str],
    ) -> anyhow::Result<()> {
        let token = fs::read_to_string(self.directory().join("data/join-token"))
            .context("the server wrote no join-token")?;
        self.nodes.push(self.directory().join(name).join("node"));
        let data = self.directory().join(name).to_string_lossy().into_owned();
        let mut arguments: Vec<String> = [
            "agent",
            "--master",
            &self.mesos,
            "--token",
            token.trim(),
            "--data-dir",
            &data,
            "--agent-listen",
            listen,
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(node_arguments(extra));
        self.members.push(Member::new(name, self.directory.path(), arguments, in_network(namespace)));
        self.start(name)
    }

    /// The cluster's directory: `data/` of the server, one directory per agent, and the logs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// The file with the credentials of the Mesos API.
    pub fn credentials(&self) -> PathBuf {
        self.directory().join("data/mesos-credentials")
    }

    fn member(&mut self, name: &str) -> anyhow::Result<&mut Member> {
        self.members
            .iter_mut()
            .find(|m| m.name() == name)
            .with_context(|| format!("there is no member {name}"))
    }

    /// Starts a member (again) and waits until it is ready.
    pub fn start(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.start()
    }

    /// Starts a member again with further arguments.
    pub fn restart_with(&mut self, name: &str, extra: &[&str]) -> anyhow::Result<()> {
        let member = self.member(name)?;
        member.add_arguments(extra);
        member.start()
    }

    /// The address of the Kubernetes API.
    pub fn api_address(&self) -> &str {
        &self.api
    }

    /// Starts a member (again) and waits for its first line of output only.
    pub fn launch(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.launch()
    }

    /// Sends SIGKILL to a member.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.kill()
    }

    /// Stops a member with SIGINT.
    pub fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.stop()
    }

    /// Stops a member with a signal, sent again after each pause.
    pub fn stop_by(&mut self, name: &str, signal: Signal, again_after: &[Duration]) -> anyhow::Result<()> {
        self.member(name)?.stop_by(signal, again_after)
    }

    /// The single process of this cluster, other than its members, whose command line matches.
    pub fn process(&self, what: &str, is_it: impl Fn(&str) -> bool) -> anyhow::Result<u32> {
        let members: Vec<u32> = self.members.iter().filter_map(Member::pid).collect();
        let found: Vec<(i32, String)> = leftovers::process_ids(&self.directory().to_string_lossy())
            .into_iter()
            .filter(|(pid, line)| is_it(line) && !members.contains(&(*pid as u32)))
            .collect();
        match found.as_slice() {
            [(pid, _)] => Ok(*pid as u32),
            _ => bail!("expected one process for {what}, found: {found:#?}"),
        }
    }

    /// Stops the cluster and fails if anything of it is left on the machine.
    pub fn stop_and_assert_clean(mut self) -> anyhow::Result<()> {
        self.ended = true;
        self.stop_all()?;
        self.disk = None;
        self.assert_clean()
    }

    /// Fails if anything of the stopped cluster is left on the machine.
    pub fn assert_clean(&self) -> anyhow::Result<()> {
        let left = leftovers::of(self.directory());
        if !left.is_empty() {
            bail!("left on the machine: {left:#?}\n{}", self.tail());
        }
        let owner = Owner::of_nodes(&self.nodes);
        let mut left: BTreeSet<String> = owner.resources().difference(&self.before).cloned().collect();
        let clean = program::wait_for("Linux to remove the cluster's resources", KERNEL_DEADLINE, || {
            // What another cluster is making or removing has no owner's name for a moment, and does not stay so.
            let now = owner.resources();
            left.retain(|name| now.contains(name));
            Ok(left.is_empty().then_some(()))
        });
        clean.with_context(|| format!("left on the machine: {left:#?}\n{}", self.tail()))
    }

    fn stop_all(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().rev().map(Member::stop).fold(Ok(()), Result::and)
    }

    /// The complete output of a member.
    pub fn log_of(&mut self, name: &str) -> anyhow::Result<String> {
        Ok(self.member(name)?.log())
    }

    /// Prints what may be the reason for which a test has waited in vain: conditions of nodes, Pods, and warnings.
    fn show_waiting(&self) {
        let conditions = "custom-columns=NODE:.metadata.name,TAINTS:.spec.taints[*].key,IS:.status.conditions[?(@.status=='True')].type";
        for what in [
            ["nodes", "--output", conditions].as_slice(),
            &["pods", "--all-namespaces", "--output", "wide"],
            &["events", "--all-namespaces", "--field-selector", "type=Warning"],
        ] {
            let asked = self.try_kubectl(&[&["get", "--request-timeout=5s"], what].concat());
            if let Ok(shown) = asked.and_then(Output::ok) {
                eprintln!("{shown}");
            }
        }
    }

    /// The last lines of each member's output.
    pub fn tail(&self) -> String {
        self.members.iter().map(Member::tail).collect::<Vec<_>>().join("\n")
    }

    /// A command that runs in the clients' network namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        match &self.namespace {
            None => Command::new(program.as_ref()),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program.as_ref());
                command
            }
        }
    }

    /// A kubectl command against this cluster.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(client("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        // A cache per cluster, so that no other cluster's discovery is used. Before the arguments, because everything
        // after `--` belongs to `exec`.
        command.arg("--cache-dir").arg(self.directory().join("kube-cache"));
        command.args(arguments).current_dir(repository());
        command
    }

    /// Runs kubectl, whatever its exit code.
    pub fn try_kubectl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        program::run(&mut self.kubectl_command(arguments), Duration::from_secs(120))
    }

    /// Runs kubectl, which must succeed, and returns its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.try_kubectl(arguments)?
            .ok()
            .with_context(|| format!("kubectl {}\n{}", arguments.join(" "), self.tail()))
    }

    /// Runs kubectl with `-o json` and parses the output.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// Calls the master's operator API.
    pub fn operator(&self, call: &str) -> anyhow::Result<Value> {
        let (status, text) = self.post_to_master("/api/v1", call)?;
        if status != 200 {
            bail!("the operator API answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("the operator API answered: {text}"))
    }

    /// Posts JSON to the master's Mesos API, from the clients' network namespace: HTTP status and body.
    pub fn post_to_master(&self, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        self.post(path, body, Some(&self.credentials()))
    }

    /// The same with the credentials of a file, or without any.
    pub fn post(&self, path: &str, body: &str, credentials: Option<&Path>) -> anyhow::Result<(u16, String)> {
        let mut python = self.command("python3");
        python.args(["-c", POST, &format!("http://{}{path}", self.mesos), body]).args(credentials);
        let output = program::run(&mut python, Duration::from_secs(30))?.ok()?;
        let (status, text) = output.split_once('\n').context("the HTTP client printed no status")?;
        Ok((status.parse()?, text.to_owned()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.ended {
            self.show_waiting();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        if let Err(error) = self.stop_all() {
            eprintln!("while stopping: {error:#}");
        }
        leftovers::sweep(self.directory.path(), &Owner::of_nodes(&self.nodes));
    }
}
