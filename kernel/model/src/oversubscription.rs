//! Oversubscription as an agent is configured for it, and what it measures for it: which estimator says how much is offered beyond
//! what the machine has, and which QoS controller ends that work when the machine is under pressure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

use crate::{
    ids::ContainerId,
    resources::{ParseError, Resource, Resources, Scalar, Value},
};

/// How an agent oversubscribes its machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Oversubscription {
    /// Without one nothing is oversubscribed.
    pub estimator: Option<Estimator>,
    /// The time between two estimates.
    pub estimate_every: Duration,
    /// Without one no task ends for others on the machine.
    pub controller: Option<QosController>,
    /// The shortest time between two corrections.
    pub correct_every: Duration,
}

impl Default for Oversubscription {
    /// Nothing is oversubscribed; the interval of estimates is Mesos'.
    fn default() -> Self {
        Self {
            estimator: None,
            estimate_every: Duration::from_secs(15),
            controller: None,
            correct_every: Duration::from_secs(5),
        }
    }
}

impl Oversubscription {
    /// How often the machine is measured; `None` if nobody reads the measurements.
    pub fn sample_every(&self) -> Option<Duration> {
        let estimate = self.estimator.as_ref().map(|_| self.estimate_every);
        let correct = self.controller.as_ref().map(|_| self.correct_every);
        estimate.into_iter().chain(correct).min().map(|every| every.max(SAMPLE_EVERY_MIN))
    }
}

/// Measurements are no more frequent: each reads a file for each container.
const SAMPLE_EVERY_MIN: Duration = Duration::from_millis(100);

/// Which resources are offered beyond what the machine has.
#[derive(Debug, Clone, PartialEq)]
pub enum Estimator {
    /// Always these, as Mesos' fixed estimator: revocable scalars.
    Fixed(Resources),
    /// This share of the CPUs that are allocated and have not been used for a while.
    Usage {
        /// Between 0 and 1.
        share: f64,
    },
}

/// The share of unused CPUs that [`Estimator::Usage`] offers if none is given: a tenth is left for peaks.
const SHARE_DEFAULT: f64 = 0.9;

/// When revocable tasks end because of the state of the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum QosController {
    /// All of them when a load average is higher than its threshold, as Mesos' load controller.
    Load {
        /// Of the last five minutes.
        five: Option<f64>,
        /// Of the last fifteen minutes.
        fifteen: Option<f64>,
    },
    /// One after the other while tasks wait for a resource for more than this part of the time, in percent (PSI: `some`, `avg10`).
    Pressure {
        /// Of waiting for CPUs.
        cpu: Option<f64>,
        /// Of waiting for memory.
        memory: Option<f64>,
    },
}

/// An estimator or QoS controller that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidOversubscription {
    #[error("unknown resource estimator '{0}': expected 'fixed:RESOURCES' or 'usage[:SHARE]'")]
    Estimator(String),
    #[error(transparent)]
    Resources(#[from] ParseError),
    #[error("resource '{0}' cannot be oversubscribed: expected unreserved scalars")]
    Resource(String),
    #[error("no resources to oversubscribe")]
    NoResources,
    #[error("invalid share '{0}': expected a number above 0 and up to 1")]
    Share(String),
    #[error(
        "unknown QoS controller '{0}': expected 'load:5min=LOAD,15min=LOAD' or 'pressure:cpu=PERCENT,memory=PERCENT'"
    )]
    Controller(String),
    #[error("invalid threshold '{0}': expected 'NAME=NUMBER'")]
    Threshold(String),
    #[error("unknown threshold '{name}': expected '{}' or '{}'", known[0], known[1])]
    UnknownThreshold { name: String, known: [&'static str; 2] },
    #[error("invalid threshold '{0}': expected a load average of 0 or more")]
    Load(String),
    #[error("invalid threshold '{0}': expected a percentage between 0 and 100")]
    Percentage(String),
    #[error("'{0}' is given more than once")]
    Repeated(String),
}

impl FromStr for Estimator {
    type Err = InvalidOversubscription;

    /// Parses `fixed:cpus:4;mem:1024` and `usage` or `usage:0.8`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("fixed", resources)) => fixed(resources).map(Estimator::Fixed),
            Some(("usage", share)) => {
                let known = share.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
                let share = known.ok_or_else(|| InvalidOversubscription::Share(share.to_owned()))?;
                Ok(Estimator::Usage { share })
            }
            None if text == "usage" => Ok(Estimator::Usage { share: SHARE_DEFAULT }),
            _ => Err(InvalidOversubscription::Estimator(text.to_owned())),
        }
    }
}

fn fixed(text: &str) -> Result<Resources, InvalidOversubscription> {
    let resources: Resources = text.parse()?;
    let scalar = |r: &&Resource| matches!(r.value, Value::Scalar(_)) && r.reservations.is_empty();
    if let Some(other) = resources.iter().find(|r| !scalar(r)) {
        return Err(InvalidOversubscription::Resource(other.to_string()));
    }
    // Amounts of the same name would be added up.
    let mut names = BTreeSet::new();
    for (key, _) in text.split(';').filter_map(|item| item.split_once(':')) {
        let name = key.split_once('(').map_or(key, |(name, _)| name).trim();
        if !names.insert(name) {
            return Err(InvalidOversubscription::Repeated(name.to_owned()));
        }
    }
    let revocable: Resources = resources.iter().map(|r| Resource { revocable: true, ..r.clone() }).collect();
    match revocable.is_empty() {
        true => Err(InvalidOversubscription::NoResources),
        false => Ok(revocable),
    }
}

impl fmt::Display for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Estimator::Fixed(resources) => {
                let plain: Resources =
                    resources.iter().map(|r| Resource { revocable: false, ..r.clone() }).collect();
                write!(f, "fixed:{plain}")
            }
            Estimator::Usage { share } => write!(f, "usage:{share}"),
        }
    }
}

impl FromStr for QosController {
    type Err = InvalidOversubscription;

    /// Parses `load:5min=8,15min=6` and `pressure:cpu=60,memory=10`; at least one threshold is necessary.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || InvalidOversubscription::Controller(text.to_owned());
        let (name, parameters) = text.split_once(':').ok_or_else(unknown)?;
        let names = match name {
            "load" => ["5min", "15min"],
            "pressure" => ["cpu", "memory"],
            _ => return Err(unknown()),
        };
        let mut found = [None, None];
        for parameter in parameters.split(',') {
            let invalid = || InvalidOversubscription::Threshold(parameter.to_owned());
            let (key, value) = parameter.split_once('=').ok_or_else(invalid)?;
            let key = key.trim();
            let at = names.iter().position(|known| *known == key).ok_or_else(|| {
                InvalidOversubscription::UnknownThreshold { name: key.to_owned(), known: names }
            })?;
            if found[at].replace(threshold(name, parameter, value)?).is_some() {
                return Err(InvalidOversubscription::Repeated(key.to_owned()));
            }
        }
        let [first, second] = found;
        Ok(match name {
            "load" => QosController::Load { five: first, fifteen: second },
            _ => QosController::Pressure { cpu: first, memory: second },
        })
    }
}

fn threshold(controller: &str, parameter: &str, value: &str) -> Result<f64, InvalidOversubscription> {
    let value = value.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    match controller {
        "load" => value.ok_or_else(|| InvalidOversubscription::Load(parameter.to_owned())),
        _ => value
            .filter(|value| *value <= 100.0)
            .ok_or_else(|| InvalidOversubscription::Percentage(parameter.to_owned())),
    }
}

impl fmt::Display for QosController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, parameters) = match self {
            QosController::Load { five, fifteen } => ("load", [("5min", five), ("15min", fifteen)]),
            QosController::Pressure { cpu, memory } => ("pressure", [("cpu", cpu), ("memory", memory)]),
        };
        let set = parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
        write!(f, "{name}:{}", set.collect::<Vec<_>>().join(","))
    }
}

/// A measurement of the machine. What cannot be measured is missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// The CPUs that were busy since the measurement before.
    pub busy_cpus: Option<Scalar>,
    /// The load averages of the last five and fifteen minutes.
    pub load: Option<[f64; 2]>,
    /// The percentage of the last ten seconds in which a task waited for CPUs.
    pub cpu_pressure: Option<f64>,
    /// The percentage of the last ten seconds in which a task waited for memory.
    pub memory_pressure: Option<f64>,
    /// The CPUs that containers used since the measurement before.
    pub container_cpus: BTreeMap<ContainerId, Scalar>,
    /// The CPUs that Pods whose CPUs are revocable used since the measurement before: all of them, because they are not in the
    /// containers of their executors.
    pub revocable_pods_cpus: Option<Scalar>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimators_are_printed_as_they_are_read() {
        for text in ["fixed:cpus:4; mem:1024", "usage:0.5"] {
            assert_eq!(text.parse::<Estimator>().unwrap().to_string(), text);
        }
        assert_eq!("usage".parse(), Ok(Estimator::Usage { share: SHARE_DEFAULT }));
        let Ok(Estimator::Fixed(resources)) = "fixed:cpus:2".parse() else { panic!("not read") };
        assert!(resources.iter().all(|r| r.revocable));
        for text in
            ["", "fixed", "fixed:", "fixed:cpus(r):1", "fixed:ports:[1-2]", "usage:0", "usage:2", "usage:x"]
        {
            assert!(text.parse::<Estimator>().is_err(), "{text}");
        }
    }

    #[test]
    fn controllers_are_printed_as_they_are_read() {
        for text in
            ["load:5min=8,15min=6", "load:15min=6", "pressure:cpu=60,memory=10", "pressure:memory=0.5"]
        {
            assert_eq!(text.parse::<QosController>().unwrap().to_string(), text);
        }
        for text in ["", "load", "load:", "load:5min", "load:cpu=1", "pressure:cpu=-1", "pressure:cpu=NaN"] {
            assert!(text.parse::<QosController>().is_err(), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_is_expected() {
        let estimators = ["fixed:cpus:1e308", "fixed:cpus:1;mem:2; cpus (*) :3", "fixed:cpus:0"];
        let controllers = [
            "pressure:cpu=101",
            "pressure:cpu=x",
            "pressure:cpu=10,cpu=20",
            "pressure:cpu=10,5min=20",
            "load:1min=3",
            "load:5min=-1",
            "load:5min=1, 5min =1",
            "load:5min",
        ];
        let estimators = estimators.map(|text| text.parse::<Estimator>().unwrap_err().to_string());
        let controllers = controllers.map(|text| text.parse::<QosController>().unwrap_err().to_string());
        expect_test::expect![[r#"
            bad resource 'cpus:1e308': the amount is more than 9e+15
            'cpus' is given more than once
            no resources to oversubscribe
            invalid threshold 'cpu=101': expected a percentage between 0 and 100
            invalid threshold 'cpu=x': expected a percentage between 0 and 100
            'cpu' is given more than once
            unknown threshold '5min': expected 'cpu' or 'memory'
            unknown threshold '1min': expected '5min' or '15min'
            invalid threshold '5min=-1': expected a load average of 0 or more
            '5min' is given more than once
            invalid threshold '5min': expected 'NAME=NUMBER'
        "#]]
        .assert_eq(&format!("{}\n{}\n", estimators.join("\n"), controllers.join("\n")));
        assert!("pressure:cpu=100,memory=0".parse::<QosController>().is_ok());
    }

    #[test]
    fn the_machine_is_measured_as_often_as_somebody_reads_it() {
        let mut options = Oversubscription::default();
        assert_eq!(options.sample_every(), None);
        options.estimator = Some(Estimator::Usage { share: 0.5 });
        assert_eq!(options.sample_every(), Some(Duration::from_secs(15)));
        options.controller = Some(QosController::Load { five: Some(1.0), fifteen: None });
        options.correct_every = Duration::ZERO;
        assert_eq!(options.sample_every(), Some(SAMPLE_EVERY_MIN));
    }
}
