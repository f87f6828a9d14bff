//! The flags of this process with their values, defaults included, as `/flagz` shows them. Secrets are redacted as upstream
//! redacts those that it calls classified.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory};

use crate::arguments::Arguments;

/// Flags whose values nobody may read.
const CLASSIFIED: [&str; 1] = ["token"];

/// The flags of the verb that this process runs.
pub fn of_this_process() -> BTreeMap<String, String> {
    of(std::env::args_os())
}

fn of(arguments: impl IntoIterator<Item = OsString>) -> BTreeMap<String, String> {
    let mut command = Arguments::command();
    command.build();
    // They were parsed before, so that they can be parsed again.
    let Ok(matches) = command.clone().try_get_matches_from(arguments) else { return BTreeMap::new() };
    match matches.subcommand().and_then(|(verb, matches)| Some((command.find_subcommand(verb)?, matches))) {
        Some((verb, matches)) => values(verb, matches),
        None => BTreeMap::new(),
    }
}

fn values(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let flag = |argument: &clap::Arg| {
        let name = argument.get_long()?;
        let id = argument.get_id().as_str();
        let value = match argument.get_action() {
            ArgAction::SetTrue => {
                let given = matches.value_source(id) == Some(ValueSource::CommandLine);
                given.to_string()
            }
            ArgAction::Set | ArgAction::Append => {
                let raw = matches.get_raw(id).into_iter().flatten();
                raw.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
            }
            _ => return None,
        };
        let hidden = CLASSIFIED.contains(&name) && !value.is_empty();
        Some((name.to_owned(), if hidden { "CLASSIFIED".to_owned() } else { without_password(&value) }))
    };
    command.get_arguments().filter_map(flag).collect()
}

/// A value without the credentials of URLs in it.
fn without_password(value: &str) -> String {
    let Some((before, rest)) = value.split_once("://") else { return value.to_owned() };
    let end = rest.find(['/', ',']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or_else(|| authority.to_owned(), |(_, host)| format!("CLASSIFIED@{host}"));
    // Further URLs of a list.
    format!("{before}://{host}{}", without_password(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_line(line: &str) -> BTreeMap<String, String> {
        of(line.split(' ').map(OsString::from))
    }

    #[test]
    fn all_flags_have_their_values() {
        let flags = of_line("catamaran server --api-listen 127.0.0.1:7443 --tls-san a,b --hollow-nodes 3");
        for (name, value) in [
            ("api-listen", "127.0.0.1:7443"),
            ("tls-san", "a,b"),
            ("hollow-nodes", "3"),
            ("store", "embedded"),
            ("service-cidr", "10.96.0.0/12"),
            ("mesos-anonymous", "false"),
            ("audit-log-path", ""),
        ] {
            assert_eq!(flags.get(name).map(String::as_str), Some(value), "{name}: {flags:?}");
        }
        assert!(!flags.contains_key("help"));
        assert_eq!(of_line("catamaran up --mesos-anonymous")["mesos-anonymous"], "true");
    }

    #[test]
    fn secrets_are_not_shown() {
        let flags = of_line("catamaran agent --master 192.0.2.1:5050 --token s3cret");
        assert_eq!(flags["token"], "CLASSIFIED");
        assert!(!flags.values().any(|value| value.contains("s3cret")), "{flags:?}");
        assert_eq!(
            without_password("etcd=http://u:p@a:1,http://v:q@b:2"),
            "etcd=http://CLASSIFIED@a:1,http://CLASSIFIED@b:2"
        );
        assert_eq!(without_password("zk://u:p@a:1,b:2/mesos"), "zk://CLASSIFIED@a:1,b:2/mesos");
        assert_eq!(without_password("https://issuer.example.com/a@b"), "https://issuer.example.com/a@b");
    }
}
