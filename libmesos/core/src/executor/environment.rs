//! What an agent tells its executor: the environment variables `MESOS_…`.

use std::time::Duration;

use crate::master::{self, Endpoint};

/// Mesos' default for the time between the order to shut down and the kill.
const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(5);
/// Mesos' default for the time that an executor waits for its agent.
const RECOVERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Mesos' default for the longest pause between attempts to subscribe.
const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(2);
/// The path of the API below the agent's process.
const API_PATH: &str = "/api/v1/executor";

/// What a driver is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The agent.
    pub endpoint: Endpoint,
    /// The path of the agent's executor API.
    pub path: String,
    #[allow(missing_docs)]
    pub framework_id: String,
    #[allow(missing_docs)]
    pub executor_id: String,
    #[allow(missing_docs)]
    pub agent_id: String,
    /// Whether the executor waits for an agent that is away.
    pub checkpoint: bool,
    /// How long.
    pub recovery_timeout: Duration,
    /// The longest pause between attempts to subscribe.
    pub backoff_max: Duration,
    /// The time between the order to shut down and the kill of the process group.
    pub shutdown_grace: Duration,
    /// Whether this process is the agent's own, as in tests: then it is not killed.
    pub local: bool,
    /// Proves to the agent which executor this is.
    pub token: Option<String>,
}

impl Config {
    /// Reads the variables; the error is the text that the framework is told. `ssl_enabled` is whether the agent speaks HTTPS,
    /// which no variable of Mesos says.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        ssl_enabled: bool,
    ) -> Result<Self, String> {
        let need = |name: &str| {
            variable(name).ok_or_else(|| format!("Expecting '{name}' to be set in the environment"))
        };
        let time = |name: &str, default: Duration| match variable(name) {
            None => Ok(default),
            Some(text) => {
                duration(&text).ok_or_else(|| format!("Failed to parse value '{text}' of '{name}'"))
            }
        };
        let (mut endpoint, path) = agent(&variable)?;
        endpoint.tls |= ssl_enabled;
        Ok(Config {
            endpoint,
            path,
            framework_id: need("MESOS_FRAMEWORK_ID")?,
            executor_id: need("MESOS_EXECUTOR_ID")?,
            agent_id: need("MESOS_SLAVE_ID")?,
            checkpoint: variable("MESOS_CHECKPOINT").is_some_and(|value| value == "1"),
            recovery_timeout: time("MESOS_RECOVERY_TIMEOUT", RECOVERY_TIMEOUT_DEFAULT)?,
            backoff_max: time("MESOS_SUBSCRIPTION_BACKOFF_MAX", BACKOFF_MAX_DEFAULT)?,
            shutdown_grace: time("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", SHUTDOWN_GRACE_DEFAULT)?,
            local: variable("MESOS_LOCAL").is_some(),
            token: variable("MESOS_EXECUTOR_AUTHENTICATION_TOKEN").filter(|token| !token.is_empty()),
        })
    }
}

/// Where the agent is: the process id in `MESOS_SLAVE_PID` (`slave(1)@host:port`), or `MESOS_AGENT_ENDPOINT`.
fn agent(variable: &impl Fn(&str) -> Option<String>) -> Result<(Endpoint, String), String> {
    let (name, value) = match (variable("MESOS_SLAVE_PID"), variable("MESOS_AGENT_ENDPOINT")) {
        (Some(pid), _) => ("MESOS_SLAVE_PID", pid),
        (None, Some(endpoint)) => ("MESOS_AGENT_ENDPOINT", endpoint),
        (None, None) => return Err("Expecting 'MESOS_SLAVE_PID' to be set in the environment".to_owned()),
    };
    let endpoint =
        master::endpoint(&value).map_err(|reason| format!("Cannot parse {name} '{value}': {reason}"))?;
    let process = value.split_once('@').map(|(process, _)| process).filter(|process| is_process(process));
    Ok((endpoint, process.map_or(API_PATH.to_owned(), |process| format!("/{process}{API_PATH}"))))
}

/// Whether a text is the name of a process, as `slave(1)`, and no more than one segment of a path.
fn is_process(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "()-_".contains(c))
}

/// A duration of Mesos: a number and its unit, as `5secs` or `1.5mins`.
pub fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("ms", 1e-3),
        ("secs", 1.0),
        ("mins", 60.0),
        ("hrs", 3_600.0),
        ("days", 86_400.0),
        ("weeks", 604_800.0),
    ];
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
        let all: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Config::from_environment(|name| all.get(name).map(|value| (*value).to_owned()), false)
    }

    const IDS: [(&str, &str); 3] =
        [("MESOS_FRAMEWORK_ID", "f"), ("MESOS_EXECUTOR_ID", "e"), ("MESOS_SLAVE_ID", "a")];

    #[test]
    fn the_variables_of_an_agent() {
        let mut variables = IDS.to_vec();
        variables.extend([
            ("MESOS_SLAVE_PID", "slave(1)@10.0.0.1:5051"),
            ("MESOS_AGENT_ENDPOINT", "10.0.0.2:5052"),
            ("MESOS_CHECKPOINT", "1"),
            ("MESOS_RECOVERY_TIMEOUT", "1.5mins"),
            ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "500ms"),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "3secs"),
            ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "t"),
        ]);
        let found = config(&variables).unwrap();
        let wanted = Config {
            endpoint: Endpoint { tls: false, host: "10.0.0.1".into(), port: 5051 },
            path: "/slave(1)/api/v1/executor".into(),
            framework_id: "f".into(),
            executor_id: "e".into(),
            agent_id: "a".into(),
            checkpoint: true,
            recovery_timeout: Duration::from_secs(90),
            backoff_max: Duration::from_millis(500),
            shutdown_grace: Duration::from_secs(3),
            local: false,
            token: Some("t".into()),
        };
        assert_eq!(found, wanted);
        variables.retain(|(name, _)| *name != "MESOS_SLAVE_PID");
        let by_endpoint = config(&variables).unwrap();
        assert_eq!((by_endpoint.endpoint.port, by_endpoint.path.as_str()), (5052, "/api/v1/executor"));
    }

    #[test]
    fn defaults_are_those_of_mesos() {
        let mut variables = IDS.to_vec();
        variables.push(("MESOS_SLAVE_PID", "slave(1)@[::1]:5051"));
        let found = config(&variables).unwrap();
        assert_eq!(found.endpoint.host, "::1");
        assert!(!found.checkpoint && !found.local && found.token.is_none());
        let times = (found.recovery_timeout, found.backoff_max, found.shutdown_grace);
        assert_eq!(times, (Duration::from_secs(900), Duration::from_secs(2), Duration::from_secs(5)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let with = |name: &'static str, value: &'static str| {
            let mut variables = IDS.to_vec();
            variables.push(("MESOS_SLAVE_PID", "slave(1)@h:5051"));
            variables.retain(|(other, _)| *other != name);
            if !value.is_empty() {
                variables.push((name, value));
            }
            config(&variables).unwrap_err()
        };
        for name in ["MESOS_SLAVE_PID", "MESOS_SLAVE_ID", "MESOS_FRAMEWORK_ID", "MESOS_EXECUTOR_ID"] {
            assert_eq!(with(name, ""), format!("Expecting '{name}' to be set in the environment"));
        }
        let wrong = with("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5 seconds");
        assert_eq!(wrong, "Failed to parse value '5 seconds' of 'MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD'");
        assert!(with("MESOS_SLAVE_PID", "slave(1)").starts_with("Cannot parse MESOS_SLAVE_PID 'slave(1)'"));
        // A name that would lead elsewhere is not a process.
        let mut variables = IDS.to_vec();
        variables.push(("MESOS_SLAVE_PID", "a/../b?x@h:1"));
        assert!(config(&variables).is_err() || config(&variables).unwrap().path == "/api/v1/executor");
    }

    #[test]
    fn durations() {
        for (text, wanted) in [
            ("5secs", Some(5_000)),
            ("1.5mins", Some(90_000)),
            (".5hrs", Some(1_800_000)),
            ("250ms", Some(250)),
            ("2weeks", Some(1_209_600_000)),
            ("5", None),
            ("5s", None),
            ("-5secs", None),
            ("secs", None),
            ("", None),
            ("1e99weeks", None),
        ] {
            assert_eq!(duration(text), wanted.map(Duration::from_millis), "{text}");
        }
    }
}
