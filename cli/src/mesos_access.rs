//! Who may use the Mesos APIs of this process: credentials that are generated at the first start, or the operator's.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use kernel::access::{Access, Credentials, RunAsPolicy, parse_acls};
use shim_pki::directory;

use crate::{arguments::MesosArguments, data_directory::DataDirectory, progress::Progress};

/// The file with the generated credentials, in Mesos' form.
pub const CREDENTIALS_FILE: &str = "mesos-credentials";
/// The principal of the generated credentials, for frameworks and operators.
const PRINCIPAL: &str = "catamaran";

/// The rules for the Mesos APIs, and the file that the credentials are in.
pub struct MesosAccess {
    /// The rules.
    pub access: Access,
    /// The rules about users of tasks and containers.
    pub run_as: RunAsPolicy,
    /// The file with the credentials.
    pub file: PathBuf,
    anonymous: bool,
    anonymous_root: bool,
}

impl MesosAccess {
    /// Reads the credentials, or generates them.
    pub fn open(data: &DataDirectory, arguments: &MesosArguments, root: bool) -> anyhow::Result<Self> {
        let (file, text) = match &arguments.mesos_credentials {
            Some(path) => {
                let path = local_path(path);
                let text = read(&path).context("--mesos-credentials")?;
                (path, text)
            }
            None => generated(data)?,
        };
        warn_if_readable(&file);
        let credentials = Credentials::parse(&text).with_context(|| file.display().to_string())?;
        let access = Access::with(credentials);
        let access = match arguments.mesos_anonymous {
            true => access.or_anonymous(root),
            false if arguments.mesos_anonymous_executors => access.or_anonymous_executors(),
            false => access,
        };
        Ok(Self {
            access,
            run_as: run_as(arguments)?,
            file,
            anonymous: arguments.mesos_anonymous,
            anonymous_root: root,
        })
    }

    /// Prints that no credentials are needed, if so.
    pub fn warn_if_anonymous(&self, addresses: &[SocketAddr], progress: &Progress) {
        if !self.anonymous {
            return;
        }
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let addresses = addresses.join(" and ");
        let users = match self.anonymous_root {
            true => "as every user, root included",
            false => "as unprivileged users",
        };
        progress.note(&format!(
            "warning: --mesos-anonymous: whoever reaches {addresses} controls the Mesos API without credentials and runs \
             tasks {users}"
        ));
        tracing::warn!(addresses, root = self.anonymous_root, "the Mesos API is open without credentials");
    }
}

/// The rules about users of tasks.
fn run_as(arguments: &MesosArguments) -> anyhow::Result<RunAsPolicy> {
    match &arguments.mesos_acls {
        Some(path) => {
            let text = read(&local_path(path)).context("--mesos-acls")?;
            parse_acls(&text).with_context(|| format!("--mesos-acls {}", path.display()))
        }
        None => Ok(RunAsPolicy::default()),
    }
}

/// Warns of secrets that every user of the machine can read, as Mesos does.
fn warn_if_readable(file: &Path) {
    if fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        let file = file.display();
        tracing::warn!(%file, "the permissions of the credentials file are too open: other users can read it");
    }
}

/// The path of a file that is named by it or, as Mesos allows, by a `file://` URL.
fn local_path(path: &Path) -> PathBuf {
    path.strip_prefix("file:///").map(|rest| Path::new("/").join(rest)).unwrap_or(path.to_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The generated credentials, which only this process' user can read.
fn generated(data: &DataDirectory) -> anyhow::Result<(PathBuf, String)> {
    let path = data.join(CREDENTIALS_FILE);
    if path.exists() {
        let text = read(&path)?;
        return Ok((path, text));
    }
    let secret = directory::random_secret()?;
    let text = format!(r#"{{"credentials":[{{"principal":"{PRINCIPAL}","secret":"{secret}"}}]}}"#) + "\n";
    directory::write_private(&path, &text)?;
    Ok((path, text))
}
