//! A cluster under test: the members' processes in a directory of their own, on addresses of their own, and its clients.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    leftovers,
    member::Member,
    network::Network,
    program::{self, Output},
};

/// A running cluster; dropping it stops it and sweeps its directory.
pub struct Cluster {
    directory: tempfile::TempDir,
    /// Address of the Kubernetes door.
    pub api: String,
    /// Address of the master's Mesos door.
    pub mesos: String,
    /// Where its clients run, if not on this host.
    namespace: Option<String>,
    members: Vec<Member>,
    /// What the machine had before.
    before: BTreeSet<String>,
}

/// How long the kernel may take to take down what nobody holds any more; on a busy machine it does so when it comes to it.
const KERNEL_DEADLINE: Duration = Duration::from_secs(15);

/// A loopback address that was free a moment ago.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("CATAMARAN_BINARY")
        .map(PathBuf::from)
        .unwrap_or_else(|| repository().join("target/debug/catamaran"))
}

/// What starts a program in a network namespace.
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

impl Cluster {
    fn new(api: String, mesos: String, namespace: Option<&str>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cm-e2e-").tempdir_in("/tmp")?;
        let namespace = namespace.map(str::to_owned);
        Ok(Self { directory, api, mesos, namespace, members: Vec::new(), before: leftovers::of_kernel() })
    }

    /// Starts `catamaran up` with these further arguments.
    pub fn up(extra: &[&str]) -> anyhow::Result<Self> {
        Self::up_by(|_| Vec::new(), extra)
    }

    /// The same on a machine of which a part is hidden: in a namespace of mounts where a file is not.
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
        let mut arguments = cluster.server_arguments("up", extra);
        arguments.extend(["--agent-listen".to_owned(), free_address()?]);
        let member = Member::new("up", cluster.directory(), arguments, starter(cluster.directory()));
        cluster.members.push(member);
        cluster.start("up")?;
        Ok(cluster)
    }

    /// Starts one `server` and one `agent` as processes of their own.
    pub fn split(extra: &[&str]) -> anyhow::Result<Self> {
        let mut cluster = Self::new(free_address()?, free_address()?, None)?;
        cluster.add_server(extra)?;
        cluster.add_agent("agent", &free_address()?, None, &["--example-images"])?;
        Ok(cluster)
    }

    /// Starts one `server` with one `agent` on the first host of a network, and another agent on its second.
    pub fn on(network: &Network, extra: &[&str]) -> anyhow::Result<Self> {
        let (first, second) = (Network::FIRST, Network::SECOND);
        let mut cluster = Self::new(format!("{first}:6443"), format!("{first}:5050"), Some(&network.first))?;
        cluster.add_server(extra)?;
        let images = "--example-images";
        let one = ["--hostname", "node-1", images];
        cluster.add_agent("agent-1", &format!("{first}:5051"), Some(&network.first), &one)?;
        let two = ["--hostname", "node-2", "--pod-cidr", "10.244.1.0/24", images];
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
        arguments.extend(extra.iter().map(|s| (*s).to_owned()));
        self.members.push(Member::new(name, self.directory.path(), arguments, in_network(namespace)));
        self.start(name)
    }

    /// The cluster's directory: data below `data/` and a directory an agent, logs beside them.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The kubeconfig that it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
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

    /// Starts a member (again) and waits for its first words only.
    pub fn launch(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.launch()
    }

    /// Kills a member with no chance to clean up.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.kill()
    }

    /// Stops a member as Ctrl-C does.
    pub fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.stop()
    }

    /// Stops a member by a signal, sent again after each of some pauses.
    pub fn stop_by(&mut self, name: &str, signal: Signal, again_after: &[Duration]) -> anyhow::Result<()> {
        self.member(name)?.stop_by(signal, again_after)
    }

    /// The one process of this cluster with such a command line; not a member's own.
    pub fn process(&self, what: &str, is_it: impl Fn(&str) -> bool) -> anyhow::Result<u32> {
        let members: Vec<u32> = self.members.iter().filter_map(Member::pid).collect();
        let found: Vec<(i32, String)> = leftovers::process_ids(&self.directory().to_string_lossy())
            .into_iter()
            .filter(|(pid, line)| is_it(line) && !members.contains(&(*pid as u32)))
            .collect();
        match found.as_slice() {
            [(pid, _)] => Ok(*pid as u32),
            _ => bail!("{what} is no single process: {found:#?}"),
        }
    }

    /// Stops all, and fails if anything of it is still on the machine.
    pub fn stop_and_look_around(mut self) -> anyhow::Result<()> {
        self.stop_all()?;
        self.look_around()
    }

    /// Fails if anything of a cluster that was stopped is still on the machine.
    pub fn look_around(&self) -> anyhow::Result<()> {
        let left = leftovers::of(self.directory());
        if !left.is_empty() {
            bail!("left on the machine: {left:#?}\n{}", self.tail());
        }
        let mut left = BTreeSet::new();
        let looked = program::wait_for("the kernel to forget the cluster", KERNEL_DEADLINE, || {
            left = leftovers::of_kernel().difference(&self.before).cloned().collect();
            Ok(left.is_empty().then_some(()))
        });
        looked.with_context(|| format!("left on the machine: {left:#?}\n{}", self.tail()))
    }

    fn stop_all(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().rev().map(Member::stop).fold(Ok(()), Result::and)
    }

    /// All that a member has printed.
    pub fn said_by(&mut self, name: &str) -> anyhow::Result<String> {
        Ok(self.member(name)?.log())
    }

    /// The last parts of the members' logs.
    pub fn tail(&self) -> String {
        self.members.iter().map(Member::tail).collect::<Vec<_>>().join("\n")
    }

    /// A program that runs where the cluster's clients run.
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
        // A cache of its own: discovery of another cluster must not answer for this one. In front of the arguments,
        // because everything after `--` belongs to `exec`.
        command.arg("--cache-dir").arg(self.directory().join("kube-cache"));
        command.args(arguments).current_dir(repository());
        command
    }

    /// Runs kubectl; whatever its end.
    pub fn try_kubectl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        program::run(&mut self.kubectl_command(arguments), Duration::from_secs(120))
    }

    /// Runs kubectl, which must end well; its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.try_kubectl(arguments)?
            .ok()
            .with_context(|| format!("kubectl {}\n{}", arguments.join(" "), self.tail()))
    }

    /// Runs kubectl with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    /// Asks the master's operator API.
    pub fn operator(&self, call: &str) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1", self.mesos);
        let mut curl = self.command("curl");
        curl.args(["-sS", "--max-time", "20", "-H", "Content-Type: application/json", "-d", call, &url]);
        let text = program::run(&mut curl, Duration::from_secs(30))?.ok()?;
        serde_json::from_str(&text).with_context(|| format!("the operator API said: {text}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        if let Err(error) = self.stop_all() {
            eprintln!("while stopping: {error:#}");
        }
        leftovers::sweep(self.directory.path(), &self.before);
    }
}
