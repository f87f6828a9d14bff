//! What a start-up ends with: what runs where, what to type next, how to stop.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    arguments::{ServerArguments, Up},
    data_directory::{DataDirectory, elsewhere},
    preflight,
    renewal::JOIN_TOKEN_FILE,
    server::{Kubeconfigs, Running},
};

/// The report at the end of a start-up. Its first line begins with `ready: `, for tests and supervisors.
pub struct Ready {
    api_url: String,
    kubeconfigs: Kubeconfigs,
    master: SocketAddr,
    agent: Option<SocketAddr>,
    credentials: PathBuf,
    data: PathBuf,
    /// What the verbs need to find the data directory: ` --data-dir DIR`, or nothing.
    data_flag: String,
    /// Whether systemd started this process.
    unit: bool,
    /// A manifest whose images are there.
    example: Option<PathBuf>,
}

/// The report of `catamaran up`.
pub fn of_cluster(running: &Running, arguments: &Up, credentials: &Path, data: &DataDirectory) -> Ready {
    let agent = Some(arguments.agent.agent_listen);
    let example = arguments.agent.example_images.then(example_manifest);
    Ready { agent, example, ..of_server(running, &arguments.server, credentials, data) }
}

/// The report of `catamaran server`.
pub fn of_server(
    running: &Running,
    arguments: &ServerArguments,
    credentials: &Path,
    data: &DataDirectory,
) -> Ready {
    let listen = arguments.mesos_listen;
    Ready {
        api_url: running.api_url.clone(),
        kubeconfigs: running.kubeconfigs.clone(),
        master: SocketAddr::new(preflight::advertised(listen), listen.port()),
        agent: None,
        credentials: credentials.to_owned(),
        data: data.path().to_owned(),
        data_flag: elsewhere::flag(data.path()),
        unit: std::env::var_os("INVOCATION_ID").is_some(),
        example: None,
    }
}

/// The manifest of the example: in a clone below the working directory, or where packages and `install.sh` put it.
fn example_manifest() -> PathBuf {
    let of_clone = PathBuf::from("manifests/examples/web.yaml");
    let prefix = std::env::current_exe().ok().and_then(|binary| Some(binary.parent()?.parent()?.to_owned()));
    let installed = prefix.map(|prefix| prefix.join("share/doc/catamaran/examples/web.yaml"));
    installed.filter(|installed| !of_clone.exists() && installed.exists()).unwrap_or(of_clone)
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_url, master, .. } = self;
        let (kubeconfig, credentials) = (self.kubeconfigs.path.display(), self.credentials.display());
        let kubectl = match &self.kubeconfigs.user {
            Some((_, context)) => format!("kubectl --context {context}"),
            None => format!("kubectl --kubeconfig {kubeconfig}"),
        };
        writeln!(f, "ready: {kubectl} get nodes")?;
        writeln!(f, "  Kubernetes API  {api_url}, kubeconfig {kubeconfig}")?;
        if let Some((path, context)) = &self.kubeconfigs.user {
            writeln!(f, "                  context {context} in {}", path.display())?;
        }
        write!(f, "  Mesos API       http://{master}")?;
        if let Some(agent) = self.agent {
            write!(f, ", agent http://{agent}")?;
        }
        writeln!(f, ", credentials {credentials}")?;
        writeln!(f, "  data            {}", self.data.display())?;
        let unit = if self.agent.is_some() { "catamaran" } else { "catamaran-server" };
        match self.unit {
            true => writeln!(f, "  log             the journal: journalctl --unit {unit}")?,
            false => writeln!(f, "  log             this terminal; more of it with CATAMARAN_LOG=info")?,
        }
        self.next(f, &kubectl)?;
        match self.unit {
            true => write!(f, "  stop            systemctl stop {unit}"),
            false => {
                write!(f, "  stop            Ctrl-C, once for an orderly stop, twice to kill what still runs")
            }
        }
    }
}

impl Ready {
    /// What to type next, for each kind of work.
    fn next(&self, f: &mut fmt::Formatter<'_>, kubectl: &str) -> fmt::Result {
        if self.agent.is_none() {
            let (master, token) = (self.master, self.data.join(JOIN_TOKEN_FILE));
            let token = token.display();
            writeln!(f, "  next            catamaran agent --master {master} --token-file FILE")?;
            return writeln!(f, "                  on each machine, with a copy of {token} as FILE");
        }
        match &self.example {
            Some(example) => writeln!(f, "  next            {kubectl} apply -f {}", example.display())?,
            None => writeln!(f, "  next            {kubectl} run NAME --image IMAGE")?,
        }
        let flag = &self.data_flag;
        writeln!(f, "                  catamaran run{flag} 'echo hello from $(hostname)'")?;
        writeln!(f, "                  catamaran status{flag}")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn ready() -> Ready {
        Ready {
            api_url: "https://127.0.0.1:6443".to_owned(),
            kubeconfigs: Kubeconfigs {
                path: "/var/lib/catamaran/kubeconfig".into(),
                user: Some(("/home/u/.kube/config".into(), "catamaran".to_owned())),
            },
            master: SocketAddr::from(([127, 0, 0, 1], 5050)),
            agent: Some(SocketAddr::from(([127, 0, 0, 1], 5051))),
            credentials: "/var/lib/catamaran/mesos-credentials".into(),
            data: "/var/lib/catamaran".into(),
            data_flag: String::new(),
            unit: false,
            example: Some("manifests/examples/web.yaml".into()),
        }
    }

    #[test]
    fn the_report_of_a_cluster_says_where_everything_is() {
        expect![[r#"
            ready: kubectl --context catamaran get nodes
              Kubernetes API  https://127.0.0.1:6443, kubeconfig /var/lib/catamaran/kubeconfig
                              context catamaran in /home/u/.kube/config
              Mesos API       http://127.0.0.1:5050, agent http://127.0.0.1:5051, credentials /var/lib/catamaran/mesos-credentials
              data            /var/lib/catamaran
              log             this terminal; more of it with CATAMARAN_LOG=info
              next            kubectl --context catamaran apply -f manifests/examples/web.yaml
                              catamaran run 'echo hello from $(hostname)'
                              catamaran status
              stop            Ctrl-C, once for an orderly stop, twice to kill what still runs"#]].assert_eq(&ready().to_string());
    }

    #[test]
    fn the_next_commands_find_another_data_directory() {
        let data_flag = elsewhere::argument(Path::new("/srv/two"));
        let report = Ready { data: "/srv/two".into(), data_flag, ..ready() }.to_string();
        let next: Vec<&str> =
            report.lines().filter(|line| line.contains("catamaran ")).map(str::trim).collect();
        assert_eq!(
            next[next.len() - 2..],
            [
                "catamaran run --data-dir /srv/two 'echo hello from $(hostname)'",
                "catamaran status --data-dir /srv/two"
            ]
        );
    }

    #[test]
    fn the_report_of_a_server_says_how_agents_join() {
        let mut server = Ready { agent: None, unit: true, ..ready() };
        server.kubeconfigs.user = None;
        expect![[r#"
            ready: kubectl --kubeconfig /var/lib/catamaran/kubeconfig get nodes
              Kubernetes API  https://127.0.0.1:6443, kubeconfig /var/lib/catamaran/kubeconfig
              Mesos API       http://127.0.0.1:5050, credentials /var/lib/catamaran/mesos-credentials
              data            /var/lib/catamaran
              log             the journal: journalctl --unit catamaran-server
              next            catamaran agent --master 127.0.0.1:5050 --token-file FILE
                              on each machine, with a copy of /var/lib/catamaran/join-token as FILE
              stop            systemctl stop catamaran-server"#]]
        .assert_eq(&server.to_string());
    }
}
