//! What a supervisor is to do, as the agent writes it.

use std::{io, path::PathBuf};

use serde_json::{Value, json};

use super::files::{CONFIG, Files};
use crate::{
    images::ContainerUser,
    runtime::{
        container::pairs,
        containerizer::{Streams, Surroundings, WindowSize},
        credentials::Credentials,
        process::Process,
    },
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// This program.
    pub(crate) binary: PathBuf,
    /// The container's program and its arguments.
    pub(crate) arguments: Vec<String>,
    /// All its variables.
    pub(crate) environment: Vec<(String, String)>,
    /// `None` is the agent's.
    pub(crate) user: Option<Credentials>,
    /// The first process of the container of an image that the program is to be in.
    pub(crate) enters: Option<Process>,
    /// The cgroups that it joins.
    pub(crate) cgroups: Vec<PathBuf>,
    pub(crate) streams: Streams,
    /// Its sandbox, for the agent.
    pub(crate) sandbox: PathBuf,
    /// What containers below it inherit, for the agent.
    pub(crate) surroundings: Surroundings,
}

impl Config {
    pub(crate) fn write(&self, files: &Files) -> io::Result<()> {
        files.write(CONFIG, &self.to_json().to_string())
    }

    pub(crate) fn read(files: &Files) -> io::Result<Self> {
        let unreadable =
            || io::Error::new(io::ErrorKind::InvalidData, "the container's configuration is unreadable");
        let value: Value = serde_json::from_str(&files.read(CONFIG)?)?;
        Self::of_json(&value).ok_or_else(unreadable)
    }

    fn to_json(&self) -> Value {
        let user = self.user.as_ref().map(Credentials::in_container);
        let streams = match self.streams {
            Streams::Files => Value::Null,
            Streams::Attachable { terminal, is_session } => json!({
                "terminal": terminal.map(|size| [size.rows, size.columns]),
                "session": is_session,
            }),
        };
        json!({
            "binary": self.binary,
            "arguments": self.arguments,
            "environment": self.environment,
            "user": user.map(|user| json!({ "uid": user.uid, "gid": user.gid, "groups": user.groups })),
            "enters": self.enters.map(|process| json!({ "pid": process.pid, "started": process.started })),
            "cgroups": self.cgroups,
            "streams": streams,
            "sandbox": self.sandbox,
            "surroundings": self.surroundings.to_json(),
        })
    }

    fn of_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = |value: &Value| value.as_array()?.iter().map(text).collect::<Option<Vec<String>>>();
        Some(Self {
            binary: text(&value["binary"])?.into(),
            arguments: texts(&value["arguments"])?,
            environment: pairs(&value["environment"])?,
            user: match &value["user"] {
                Value::Null => None,
                user => Some(Credentials::of_numbers(&user_of_json(user)?)),
            },
            enters: match &value["enters"] {
                Value::Null => None,
                process => Some(Process::of_json(process)?),
            },
            cgroups: texts(&value["cgroups"])?.into_iter().map(PathBuf::from).collect(),
            streams: match &value["streams"] {
                Value::Null => Streams::Files,
                streams => Streams::Attachable {
                    terminal: match &streams["terminal"] {
                        Value::Null => None,
                        size => Some(WindowSize { rows: number(&size[0])?, columns: number(&size[1])? }),
                    },
                    is_session: streams["session"].as_bool()?,
                },
            },
            sandbox: text(&value["sandbox"])?.into(),
            surroundings: Surroundings::of_json(&value["surroundings"])?,
        })
    }
}

fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}

fn user_of_json(value: &Value) -> Option<ContainerUser> {
    let groups = value["groups"].as_array()?.iter().map(number).collect::<Option<_>>()?;
    Some(ContainerUser { uid: number(&value["uid"])?, gid: number(&value["gid"])?, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path().to_owned());
        let terminal = Some(WindowSize { rows: 24, columns: 80 });
        let all = [
            Streams::Files,
            Streams::Attachable { terminal: None, is_session: true },
            Streams::Attachable { terminal, is_session: false },
        ];
        for (streams, user) in
            all.into_iter().zip([None, Some(ContainerUser { uid: 1, gid: 2, groups: vec![3] }), None])
        {
            let config = Config {
                binary: "/b".into(),
                arguments: vec!["a b".into(), String::new()],
                environment: vec![("A".into(), "1=2".into())],
                user: user.as_ref().map(Credentials::of_numbers),
                enters: user.as_ref().map(|_| Process { pid: 7, started: 8 }),
                cgroups: vec!["/c".into()],
                streams,
                sandbox: "/s".into(),
                surroundings: Surroundings { user: "u".into(), ..Surroundings::default() },
            };
            config.write(&files).unwrap();
            assert_eq!(Config::read(&files).unwrap(), config);
        }
        files.write(CONFIG, "{}").unwrap();
        assert!(Config::read(&files).is_err());
    }
}
