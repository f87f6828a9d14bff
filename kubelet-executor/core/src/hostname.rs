//! The names of a Pod in its network namespace and its `/etc/hosts`.

use k8s_openapi::api::core::v1::Pod;

use crate::spec;

/// Limit of a host name that the kubelet derives from the Pod's name.
const HOSTNAME_BYTES_MAX: usize = 63;
/// Limit of the kernel's node name.
const KERNEL_HOSTNAME_BYTES_MAX: usize = 64;
/// The domain of the cluster.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The Pod's name as a host: `hostnameOverride`, else `hostname`, else the name of the object, truncated.
pub fn hostname(pod: &Pod) -> String {
    let pod_spec = spec::spec(pod);
    let given =
        pod_spec.hostname_override.as_ref().or(pod_spec.hostname.as_ref()).or(pod.metadata.name.as_ref());
    let mut name = given.cloned().unwrap_or_default();
    name.truncate(name.floor_char_boundary(HOSTNAME_BYTES_MAX));
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The Pod's domain; `None` without a subdomain.
pub fn domain(pod: &Pod) -> Option<String> {
    let pod_spec = spec::spec(pod);
    let subdomain = pod_spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
    if pod_spec.hostname_override.is_some() {
        return None;
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    Some(format!("{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"))
}

/// The fully qualified name is too long for the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to construct FQDN from pod hostname and cluster domain, FQDN {0} is too long ({KERNEL_HOSTNAME_BYTES_MAX} \
     characters is the max, {length} characters requested)",
    length = .0.len()
)]
pub struct FqdnTooLong(String);

/// The host name in the Pod's containers: the short one, or with `setHostnameAsFQDN` the fully qualified one.
pub fn kernel_hostname(pod: &Pod) -> Result<String, FqdnTooLong> {
    let hostname = hostname(pod);
    let as_fqdn = spec::spec(pod).set_hostname_as_fqdn == Some(true);
    let Some(domain) = domain(pod).filter(|_| as_fqdn) else { return Ok(hostname) };
    let fqdn = format!("{hostname}.{domain}");
    if fqdn.len() > KERNEL_HOSTNAME_BYTES_MAX { Err(FqdnTooLong(fqdn)) } else { Ok(fqdn) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn host_names() {
        let long = "h".repeat(31);
        let table = [
            (json!({}), "p"),
            (json!({ "hostname": "h", "subdomain": "s" }), "h"),
            (
                json!({ "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true }),
                "h.s.ns.svc.cluster.local",
            ),
            (json!({ "subdomain": "s", "setHostnameAsFQDN": true }), "p.s.ns.svc.cluster.local"),
            (json!({ "hostname": "h", "setHostnameAsFQDN": true }), "h"),
            (json!({ "hostnameOverride": "o.example", "hostname": "h", "subdomain": "s" }), "o.example"),
            (
                json!({ "hostname": long, "subdomain": "twelve-bytes", "setHostnameAsFQDN": true }),
                "failed to construct FQDN from pod hostname and cluster domain, FQDN \
                 hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh.twelve-bytes.ns.svc.cluster.local is too long (64 characters is the max, \
                 65 characters requested)",
            ),
        ];
        for (mut spec, expected) in table {
            spec["containers"] = json!([]);
            let pod = json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": spec });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let name = kernel_hostname(&pod).unwrap_or_else(|error| error.to_string());
            assert_eq!(name, expected, "{spec}");
        }
    }
}
