//! Sessions with the real kubectl: `docs/kubectl` has commands of every verb with what they print, which must be what they print here.
//! `UPDATE_EXPECT=1` writes the pages anew.
//!
//! What differs from run to run (ages, uids, generated names, addresses …) is shown as a word in angle brackets, and several spaces as
//! two. Each page has a namespace of its own, and a kubeconfig whose context names it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::PoisonError,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use e2e::{
    cluster::{Cluster, client, repository},
    program,
    transcript::{self, Part, normal::normal},
};

use crate::{DISCOVERY, Test};

pub const TESTS: &[Test] = &[
    ("access", |cluster| follow(cluster, "access")),
    ("apply", |cluster| follow(cluster, "apply")),
    ("create", |cluster| follow(cluster, "create")),
    ("debug", |cluster| follow(cluster, "debug")),
    ("describe", |cluster| follow(cluster, "describe")),
    ("discovery", |cluster| follow(cluster, "discovery")),
    ("get", |cluster| follow(cluster, "get")),
    ("nodes", |cluster| follow(cluster, "nodes")),
    ("pods", |cluster| follow(cluster, "pods")),
    ("rollout", |cluster| follow(cluster, "rollout")),
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

/// Follows a page with each kubectl, one after the other: some pages make objects that are in no namespace.
fn follow(cluster: &Cluster, page: &str) -> anyhow::Result<()> {
    [THIS, NEXT].iter().try_for_each(|version| follow_with(cluster, page, version))
}

/// Runs the commands of a page and compares what they print.
fn follow_with(cluster: &Cluster, page: &str, version: &str) -> anyhow::Result<()> {
    let _all_served = DISCOVERY.read().unwrap_or_else(PoisonError::into_inner);
    let (common, path) = (page_of(THIS, page), page_of(version, page));
    let mut parts = read(&common)?;
    let expected = if path.exists() { read(&path)? } else { parts.clone() };
    let mut shell = Shell::new(cluster, page, version)?;
    for part in &mut parts {
        if let Part::Command { command, output } = part {
            *output = shell.run(command)?;
        }
    }
    cluster.kubectl(&["delete", "namespace", &shell.namespace, "--wait=false"])?;
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return update(&common, &path, &parts);
    }
    let differences = differences(&expected, &parts);
    if !differences.is_empty() {
        bail!("{}:\n{}", path.display(), differences.join("\n\n"));
    }
    Ok(())
}

/// The page of a version of kubectl, which is there only if that version prints something else than this one.
fn page_of(version: &str, page: &str) -> PathBuf {
    repository().join("docs/kubectl").join(version).join(format!("{page}.md"))
}

fn read(path: &Path) -> anyhow::Result<Vec<Part>> {
    transcript::parse(&fs::read_to_string(path).with_context(|| path.display().to_string())?)
}

/// Writes a page; that of another version only if it differs from the common one.
fn update(common: &Path, path: &Path, parts: &[Part]) -> anyhow::Result<()> {
    let text = transcript::print(parts);
    let is_redundant = common != path && text == fs::read_to_string(common)?;
    match is_redundant {
        true if path.exists() => fs::remove_file(path)?,
        true => {}
        false => fs::write(path, text)?,
    }
    Ok(())
}

/// The commands whose output differs. Both pages have the same commands.
fn differences(expected: &[Part], printed: &[Part]) -> Vec<String> {
    if expected.len() != printed.len() {
        return vec![
            "the page's commands are not those of the common page: run this with UPDATE_EXPECT=1".into(),
        ];
    }
    let pairs = expected.iter().zip(printed).filter(|(expected, printed)| expected != printed);
    pairs.map(|(expected, printed)| format!("expected:\n{}got:\n{}", show(expected), show(printed))).collect()
}

fn show(part: &Part) -> String {
    transcript::print(std::slice::from_ref(part))
}
