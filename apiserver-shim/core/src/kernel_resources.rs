//! Names and units of resources in Kubernetes and in the kernel: `cpu` is `cpus`, `memory` (bytes) is `mem` (MiB),
//! `ephemeral-storage` is `disk`, `catamaran.dev/gpu` is `gpus`, and `catamaran.dev/NAME` any other `NAME`.

use std::borrow::Cow;

use kernel_model::resources::Scalar;

/// Revocable CPUs, in thousandths, among the amounts that the scheduler compares. No Pod can request it: it is no valid name.
pub const REVOCABLE_CPU: &str = "cpu (revocable)";

/// Revocable CPUs in the status of a Node, in whole CPUs; and its annotation with the exact amount of those that are allocatable.
pub const REVOCABLE_CPU_OF_NODE: &str = "catamaran.dev/revocable-cpu";

/// The annotation of PriorityClasses whose Pods run on revocable CPUs, and of these Pods.
pub const REVOCABLE_ANNOTATION: &str = "catamaran.dev/revocable";

const PREFIX: &str = "catamaran.dev/";
const GPU: &str = "catamaran.dev/gpu";

/// Whether clients may declare a resource in the status of a Node, as device plugins do elsewhere: an extended resource that is not
/// of the kernel's names.
pub fn is_declarable(name: &str) -> bool {
    let domain = name.split_once('/').map_or("", |(domain, _)| domain);
    let native = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    !domain.is_empty() && !native && !name.starts_with(PREFIX) && !name.starts_with("requests.")
}

/// The kernel's name of a resource.
pub fn kernel_name(name: &str) -> &str {
    match name {
        "cpu" => "cpus",
        "memory" => "mem",
        "ephemeral-storage" => "disk",
        GPU => "gpus",
        other => other.strip_prefix(PREFIX).unwrap_or(other),
    }
}

/// The name of a resource of the kernel.
pub fn api_name(kernel_name: &str) -> Cow<'_, str> {
    match kernel_name {
        "cpus" => "cpu".into(),
        "mem" => "memory".into(),
        "disk" => "ephemeral-storage".into(),
        "gpus" => GPU.into(),
        other if other.contains('/') => other.into(),
        other => format!("{PREFIX}{other}").into(),
    }
}

/// Bytes in the kernel's unit, MiB, rounded up to thousandths.
pub fn mebibytes(bytes: i64) -> Scalar {
    let thousandths = (i128::from(bytes) * 1000 + (1 << 20) - 1) >> 20;
    Scalar(i64::try_from(thousandths).unwrap_or(i64::MAX))
}

/// The bytes of an amount in MiB.
pub fn bytes(mebibytes: Scalar) -> i64 {
    i64::try_from((i128::from(mebibytes.0) << 20) / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::is_declarable;

    #[test]
    fn extended_resources_of_others_may_be_declared() {
        let table = [
            ("example.com/fpga", true),
            ("cpu", false),
            ("hugepages-2Mi", false),
            ("kubernetes.io/x", false),
            ("attachable-volumes.kubernetes.io/x", false),
            ("catamaran.dev/gpu", false),
            ("requests.example.com/x", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_declarable(name), expected, "{name}");
        }
    }
}
