//! Sessions with the real kubectl: `docs/kubectl` has commands of every verb with what they print, which must be what they print here.
//! `UPDATE_EXPECT=1` writes the pages anew.
//!
//! What differs from run to run (ages, uids, generated names, addresses …) is shown as a word in angle brackets, and several spaces as
//! two. Each page has a namespace of its own, and a kubeconfig whose context names it.

use std::{fs, path::PathBuf, process::Command, sync::PoisonError, time::Duration};

use anyhow::{Context, bail, ensure};
use e2e::{
    cluster::{Cluster, client, repository},
    program,
    transcript::{self, Part, normal::normal},
};

use crate::{DISCOVERY, Test};

pub const TESTS: &[Test] = &[
    ("access", |cluster| follow(cluster, "access", THIS)),
    ("apply", |cluster| follow(cluster, "apply", THIS)),
    ("create", |cluster| follow(cluster, "create", THIS)),
    ("describe", |cluster| follow(cluster, "describe", THIS)),
    ("discovery", |cluster| follow(cluster, "discovery", THIS)),
    ("get", |cluster| follow(cluster, "get", THIS)),
    ("nodes", |cluster| follow(cluster, "nodes", THIS)),
    ("pods", |cluster| follow(cluster, "pods", THIS)),
    ("rollout", |cluster| follow(cluster, "rollout", THIS)),
    ("get_by_the_next_version", |cluster| follow(cluster, "get", NEXT)),
];

/// The folder of the kubectl of the server's version, and of the next minor version.
const THIS: &str = ".";
const NEXT: &str = "next";

/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The directories of the other programs.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell in a directory of its own.
struct Shell {
    home: tempfile::TempDir,
    /// Where kubectl is.
    clients: PathBuf,
    namespace: String,
    /// The machine's name, which is the node's.
    host: String,
    /// Assignments and functions of earlier commands.
    variables: String,
}

impl Shell {
    fn new(cluster: &Cluster, page: &str, version: &str) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let config: PathBuf = home.path().join("config");
        fs::copy(cluster.kubeconfig(), &config)?;
        let clients = client(version);
        let namespace =
            if version == THIS { format!("session-{page}") } else { format!("session-{page}-{version}") };
        cluster.kubectl(&["create", "namespace", &namespace])?;
        let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        let mut shell = Self { home, clients, namespace, host, variables: String::new() };
        let namespace = "kubectl config set-context --current --namespace=$NAMESPACE";
        shell.run(namespace)?;
        Ok(shell)
    }

    /// Runs a command, which must succeed: its output, errors among it, as on a terminal.
    fn run(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let clients = self.clients.display();
        let home = self.home.path();
        let mut shell = Command::new("bash");
        let script = format!("exec 2>&1\n{}{command}", self.variables);
        shell.args(["-eu", "-o", "pipefail", "-c", &script]).current_dir(home);
        shell.env("HOME", home).env("TMPDIR", home).env("KUBECONFIG", home.join("config"));
        shell.env("NAMESPACE", &self.namespace).env("PATH", format!("{clients}:{PROGRAMS}"));
        // The same output whatever the machine's settings.
        shell.env("LC_ALL", "C").env("TZ", "UTC").env("NO_PROXY", "*");
        let output = program::run(&mut shell, DEADLINE)?;
        ensure!(output.status.success(), "$ {command}\n{}{}", output.stdout, output.status);
        if is_definition(command) {
            self.variables += &format!("{command}\n");
        }
        let directory = home.to_string_lossy();
        let words = [(&*directory, "<home>"), (&self.namespace, "<namespace>"), (&self.host, "<node>")];
        Ok(normal(&output.stdout, &words))
    }
}

/// `name=value` or `name() { … }`.
fn is_definition(command: &str) -> bool {
    let Some((name, _)) = command.split_once(['=', '(']) else { return false };
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase())
}

/// Runs the commands of a page and compares what they print.
fn follow(cluster: &Cluster, page: &str, version: &str) -> anyhow::Result<()> {
    let _all_served = DISCOVERY.read().unwrap_or_else(PoisonError::into_inner);
    let path = repository().join(format!("docs/kubectl/{page}.md"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut shell = Shell::new(cluster, page, version)?;
    let mut parts = transcript::parse(&text)?;
    let mut differences = Vec::new();
    for part in &mut parts {
        let Part::Command { command, output } = part else { continue };
        let printed = shell.run(command)?;
        if printed != *output {
            let expected = output.join("\n");
            differences.push(format!("$ {command}\nexpected:\n{expected}\ngot:\n{}", printed.join("\n")));
            *output = printed;
        }
    }
    cluster.kubectl(&["delete", "namespace", &shell.namespace, "--wait=false"])?;
    if std::env::var_os("UPDATE_EXPECT").is_some() && version == THIS {
        return Ok(fs::write(&path, transcript::print(&parts))?);
    }
    if !differences.is_empty() {
        bail!("{}:\n{}", path.display(), differences.join("\n\n"));
    }
    Ok(())
}
