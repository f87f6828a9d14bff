//! The commands of the user's guide, run on a cluster, with the output that the guide shows.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use e2e::{
    cluster::{Cluster, binary, client, repository},
    guide::{missing_line, steps},
    program,
};

/// How long one command may take: some wait for Pods.
const DEADLINE: Duration = Duration::from_secs(150);

/// What a reader's shell has: `catamaran`, `kubectl` and a context in `~/.kube/config`; the guide's addresses and paths are
/// replaced by those of the cluster under test.
struct Reader<'a> {
    cluster: &'a Cluster,
    home: tempfile::TempDir,
}

impl<'a> Reader<'a> {
    fn new(cluster: &'a Cluster) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        fs::create_dir_all(home.path().join(".kube"))?;
        fs::create_dir_all(home.path().join("etc/bash_completion.d"))?;
        fs::copy(cluster.kubeconfig(), home.path().join(".kube/config"))?;
        fs::create_dir(home.path().join("bin"))?;
        let wrapper = home.path().join("bin/catamaran");
        fs::write(&wrapper, wrapper_script(cluster)?)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        Ok(Self { cluster, home })
    }

    /// A command of the guide as it is for this cluster.
    fn here(&self, command: &str) -> String {
        let directory = self.cluster.directory().display();
        let home = self.home.path().display();
        let frameworks = std::env::var("CATAMARAN_FRAMEWORKS").unwrap_or_default();
        command
            .replace("~/.cache/catamaran-frameworks", &frameworks)
            .replace(
                "$PWD/target/release/libmesos.so",
                &binary().with_file_name("libmesos.so").display().to_string(),
            )
            .replace("/tmp/", &format!("{home}/"))
            .replace("/var/lib/catamaran-agent", &format!("{directory}/agent"))
            .replace("/var/lib/catamaran", &format!("{directory}/data"))
            .replace("127.0.0.1:5050", &self.cluster.mesos)
            .replace("127.0.0.1:6443", &self.cluster.api)
            .replace("/etc/bash_completion.d", &format!("{home}/etc/bash_completion.d"))
    }

    /// Runs the commands of a page in one shell each, with the variables that earlier ones have set.
    fn follow(&self, page: &Path) -> anyhow::Result<usize> {
        let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        let all = steps(&text)?;
        let mut variables = String::new();
        for step in &all {
            let command = self.here(&step.command);
            let place = format!("{}:{}: {command}", page.display(), step.line);
            let output = program::run(&mut self.shell(&format!("{variables}{command}"))?, DEADLINE)?;
            ensure!(output.status.success(), "{place}: {output:?}");
            let said = format!("{}{}", output.stdout, output.stderr);
            if let Some(line) = missing_line(&step.output, &said) {
                anyhow::bail!("{place}: the output has no line '{line}':\n{said}");
            }
            let assigns =
                command.split_once('=').is_some_and(|(name, _)| name.chars().all(char::is_alphabetic));
            if assigns {
                variables += &format!("{command}\n");
            }
        }
        Ok(all.len())
    }

    fn shell(&self, script: &str) -> anyhow::Result<Command> {
        let clients = client("kubectl");
        let clients = clients.parent().unwrap_or(Path::new("")).display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.args(["-eu", "-o", "pipefail", "-c", &format!("sudo() {{ \"$@\"; }}\n{script}")]);
        shell.current_dir(repository()).env("HOME", self.home.path()).env_remove("KUBECONFIG");
        shell.env("PATH", format!("{}/bin:{clients}:{path}", self.home.path().display()));
        Ok(shell)
    }
}

/// `catamaran` of the reader, whose cluster is the only one on the machine: names the cluster under test.
fn wrapper_script(cluster: &Cluster) -> anyhow::Result<String> {
    let binary = std::path::absolute(binary())?;
    let (binary, data) = (binary.display(), cluster.directory().join("data"));
    let (data, master, credentials) = (data.display(), &cluster.mesos, cluster.credentials());
    Ok(format!(
        "#!/bin/sh\ncase $1 in\n\
         status|backup|images|explain) exec {binary} \"$@\" --data-dir {data} ;;\n\
         run) shift; exec {binary} run --master {master} --mesos-credentials {} \"$@\" ;;\n\
         *) exec {binary} \"$@\" ;;\nesac\n",
        credentials.display()
    ))
}

#[test]
fn every_command_of_the_guide_works() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    let reader = Reader::new(&cluster)?;
    let pages = repository().join("docs/guide/src");
    let summary = fs::read_to_string(pages.join("SUMMARY.md"))?;
    let mut commands = 0;
    for page in summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')')) {
        commands += reader.follow(&pages.join(page))?;
    }
    ensure!(commands >= 25, "only {commands} commands were found in the guide");
    drop(reader);
    cluster.stop_and_assert_clean()
}
