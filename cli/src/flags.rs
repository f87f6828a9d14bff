//! Checks of an agent's flags before anything starts.

use anyhow::{Context, bail, ensure};
use kernel_model::resources::{Resources, Value};

use crate::{arguments::node::AgentArguments, node};

/// The resources that Mesos and the scheduler of Pods know, with other names for them.
const RESOURCES: &[(&str, &[&str])] = &[
    ("cpus", &["cpu", "core", "cores", "vcpu", "vcpus"]),
    ("mem", &["memory", "ram", "mems"]),
    ("disk", &["storage", "ephemeral-storage", "disks", "space"]),
    ("ports", &["port", "hostports"]),
    ("gpus", &["gpu", "nvidia", "nvidia.com/gpu"]),
];

/// Fails if a flag cannot be used, in a sentence that names it.
pub fn check(arguments: &AgentArguments) -> anyhow::Result<()> {
    node::name(arguments)?;
    node::attributes(arguments, None)?;
    if let Some(text) = &arguments.resources {
        check_resources(text).context("--resources")?;
    }
    Ok(())
}

fn check_resources(text: &str) -> anyhow::Result<()> {
    let resources: Resources = text.parse()?;
    ensure!(!resources.is_empty(), "'{text}' names no resource; expected as in cpus:4;mem:8192");
    for resource in resources.iter() {
        let name = &*resource.name;
        if let Some(right) = meant(name) {
            bail!("unknown resource '{name}'; did you mean '{right}'?");
        }
        let is_range = matches!(resource.value, Value::Ranges(_));
        match name {
            "ports" if !is_range => bail!("'ports' is a list of ranges, as ports:[31000-32000]"),
            "cpus" | "mem" | "disk" | "gpus" if !matches!(resource.value, Value::Scalar(_)) => {
                bail!("'{name}' is a number, as {name}:4")
            }
            _ => {}
        }
    }
    Ok(())
}

/// The known resource that an unknown name probably means. Other names are resources of the operator's own.
fn meant(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let known = || RESOURCES.iter().map(|(right, _)| *right);
    if known().any(|right| right == name) {
        return None;
    }
    let other = RESOURCES.iter().find(|(right, others)| lower == *right || others.contains(&&*lower));
    other.map(|(right, _)| *right).or_else(|| known().find(|right| is_one_edit_away(&lower, right)))
}

/// Whether one character was added, left out, or replaced, or two neighbours were exchanged.
fn is_one_edit_away(text: &str, right: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (text.chars().collect(), right.chars().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (rest_a, rest_b) = (&a[same..], &b[same..]);
    let after = |rest: &[char], count: usize| rest.get(count..).map(<[char]>::to_vec).unwrap_or_default();
    let exchanged =
        rest_a.len() >= 2 && rest_b.len() >= 2 && rest_a[0] == rest_b[1] && rest_a[1] == rest_b[0];
    (a.len() == b.len() && after(rest_a, 1) == after(rest_b, 1))
        || (a.len() == b.len() + 1 && after(rest_a, 1) == rest_b)
        || (a.len() + 1 == b.len() && rest_a == after(rest_b, 1))
        || (exchanged && after(rest_a, 2) == after(rest_b, 2))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn refusal(text: &str) -> String {
        check_resources(text).map_or_else(|error| format!("{error:#}"), |()| "accepted".to_owned())
    }

    #[test]
    fn resources_that_mean_something_else_are_refused() {
        let texts = [
            "cpus:4;mem:8192;disk:10000;ports:[31000-32000]",
            "cpus(prod):2;license:3",
            "cpu:4",
            "CPUS:4",
            "memory:1",
            "mme:1",
            "cpuz:4",
            "port:[1-2]",
            "gpu:1",
            "disc:5",
            "cpus",
            "cpus:4GB",
            "mem:8Gi",
            "cpus:-1",
            "ports:5",
            "cpus:[1-2]",
            "",
            "foo.bar/baz:1",
        ];
        let table = texts.iter().map(|text| format!("{text:50} {}\n", refusal(text)));
        expect![[r#"
            cpus:4;mem:8192;disk:10000;ports:[31000-32000]     accepted
            cpus(prod):2;license:3                             accepted
            cpu:4                                              unknown resource 'cpu'; did you mean 'cpus'?
            CPUS:4                                             unknown resource 'CPUS'; did you mean 'cpus'?
            memory:1                                           unknown resource 'memory'; did you mean 'mem'?
            mme:1                                              unknown resource 'mme'; did you mean 'mem'?
            cpuz:4                                             unknown resource 'cpuz'; did you mean 'cpus'?
            port:[1-2]                                         unknown resource 'port'; did you mean 'ports'?
            gpu:1                                              unknown resource 'gpu'; did you mean 'gpus'?
            disc:5                                             unknown resource 'disc'; did you mean 'disk'?
            cpus                                               bad resource 'cpus': expected 'name:value'
            cpus:4GB                                           bad resource 'cpus:4GB': '4GB' is not a number, range or set
            mem:8Gi                                            bad resource 'mem:8Gi': '8Gi' is not a number, range or set
            cpus:-1                                            bad resource 'cpus:-1': the amount must be finite and not negative
            ports:5                                            'ports' is a list of ranges, as ports:[31000-32000]
            cpus:[1-2]                                         'cpus' is a number, as cpus:4
                                                               '' names no resource; expected as in cpus:4;mem:8192
            foo.bar/baz:1                                      accepted
        "#]]
        .assert_eq(&table.collect::<String>());
    }
}
