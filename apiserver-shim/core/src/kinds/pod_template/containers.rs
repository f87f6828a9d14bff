//! Validation of containers, init containers and ephemeral containers.

use super::{mounts, ports, probes, resources, security};
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a name.
type Format = fn(&str) -> Vec<String>;

/// The Pod's volumes by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// What the validation of a container reads of its Pod.
struct OfPod<'a> {
    volumes: &'a Volumes<'a>,
    host_users: bool,
    never_restarts: bool,
    claims: BTreeSet<&'a str>,
}

impl<'a> OfPod<'a> {
    fn of(spec: &Members<'a>, volumes: &'a Volumes<'a>) -> OfPod<'a> {
        let claims = spec.list("resourceClaims").iter().map(|claim| access::text(claim, &["name"]));
        OfPod {
            volumes,
            host_users: security::has_host_users(spec),
            never_restarts: spec.text("restartPolicy") == "Never",
            claims: claims.filter(|name| !name.is_empty()).collect(),
        }
    }
}

/// Validates all containers of a spec.
pub(super) fn validate(
    spec: &Members<'_>,
    field: At<'_>,
    volumes: &Volumes<'_>,
    errors: &mut Vec<FieldError>,
) {
    let of = &OfPod::of(spec, volumes);
    let grace = spec.int("terminationGracePeriodSeconds");
    let main = spec.list("containers");
    if main.is_empty() {
        errors.push(FieldError::required(format!("{field}.containers"), ""));
    }
    let mut names_seen = BTreeSet::new();
    for (i, container) in main.iter().enumerate() {
        let container = &Members::of(container);
        let at = format_args!("{field}.containers[{i}]");
        common(container, at, of, errors);
        let name = container.text("name");
        if !names_seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
        probes::lifecycle(container, at, grace, errors);
        probes::validate(container, at, errors);
        restart(container, at, errors);
    }
    ports::unique_host_ports(main, format_args!("{field}.containers"), errors);
    let init_containers = spec.list("initContainers");
    for (i, container) in init_containers.iter().enumerate() {
        let container = &Members::of(container);
        let at = format_args!("{field}.initContainers[{i}]");
        common(container, at, of, errors);
        restart(container, at, errors);
        unique(container, at, &mut names_seen, errors);
        // Init containers run one after the other, so each is checked alone; upstream's path has the index 0 for each.
        ports::unique_host_ports(&init_containers[i..=i], format_args!("{field}.initContainers"), errors);
        init(container, at, grace, errors);
    }
    let others = names_seen.clone();
    for (i, container) in spec.list("ephemeralContainers").iter().enumerate() {
        let container = &Members::of(container);
        let at = format_args!("{field}.ephemeralContainers[{i}]");
        common(container, at, of, errors);
        let name = container.text("name");
        if !names_seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
        ephemeral(container, at, &others, errors);
    }
}

fn unique<'a>(
    container: &Members<'a>,
    at: At<'_>,
    seen: &mut BTreeSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    let name = container.text("name");
    if !name.is_empty() && !seen.insert(name) {
        errors.push(FieldError::duplicate(format!("{at}.name"), name));
    }
}

fn common(container: &Members<'_>, at: At<'_>, of: &OfPod<'_>, errors: &mut Vec<FieldError>) {
    let name = container.text("name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    } else {
        errors.extend(
            names::dns_label(name).into_iter().map(|d| FieldError::invalid(format!("{at}.name"), name, d)),
        );
    }
    let image = container.text("image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{at}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{at}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    let policies = ["File", "FallbackToLogsOnError"];
    let at_policy = format_args!("{at}.terminationMessagePolicy");
    choice(container.text("terminationMessagePolicy"), at_policy, &policies, errors);
    ports::validate(container, at, errors);
    env(container, at, errors);
    env_from(container, at, errors);
    mounts::validate(container, at, of.volumes, errors);
    mounts::validate_devices(container, at, of.volumes, errors);
    let policies = ["Always", "IfNotPresent", "Never"];
    choice(container.text("imagePullPolicy"), format_args!("{at}.imagePullPolicy"), &policies, errors);
    let resources = container.get("resources").unwrap_or(&Value::Null);
    resources::validate(resources, format_args!("{at}.resources"), errors);
    resources::validate_claims(resources, &of.claims, format_args!("{at}.resources"), errors);
    resources::validate_resize_policy(container, at, of.never_restarts, errors);
    security::validate_container(container, at, of.host_users, errors);
}

pub(super) fn choice(value: &str, at: At<'_>, choices: &[&str], errors: &mut Vec<FieldError>) {
    if value.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if !choices.contains(&value) {
        errors.push(FieldError::not_supported(at, value, choices));
    }
}

fn init(container: &Members<'_>, at: At<'_>, grace: Option<i64>, errors: &mut Vec<FieldError>) {
    let is_sidecar = container.text("restartPolicy") == "Always";
    init_probes(container, at, grace, errors);
    for (i, policy) in container.list("resizePolicy").iter().enumerate().filter(|_| !is_sidecar) {
        let restart = access::text(policy, &["restartPolicy"]);
        if restart == "RestartContainer" {
            let at = format!("{at}.resizePolicy[{i}].restartPolicy");
            let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.push(FieldError::invalid(at, restart, why));
        }
    }
}

fn init_probes(container: &Members<'_>, at: At<'_>, grace: Option<i64>, errors: &mut Vec<FieldError>) {
    if container.text("restartPolicy") == "Always" {
        probes::lifecycle(container, at, grace, errors);
        probes::validate(container, at, errors);
        return;
    }
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(key).is_some() {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{at}.{key}"), detail));
        }
    }
}

fn ephemeral(container: &Members<'_>, at: At<'_>, others: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    const FORBIDDEN: &str = "cannot be set for an Ephemeral Container";
    /// What upstream refuses, in the order of the members of its type.
    const REFUSED: [&str; 9] = [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let target = container.text("targetContainerName");
    if !target.is_empty() && !others.contains(target) {
        errors.push(FieldError::not_found(format!("{at}.targetContainerName"), target));
    }
    for key in REFUSED {
        let is_set = container.get(key).is_some_and(|v| match v {
            // An empty probe is one.
            Value::Object(members) => key != "resources" || !members.is_empty(),
            other => !access::is_zero(other),
        });
        if is_set {
            errors.push(FieldError::forbidden(format!("{at}.{key}"), FORBIDDEN));
        }
    }
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        for key in ["subPath", "subPathExpr"] {
            if !access::text(mount, &[key]).is_empty() {
                errors.push(FieldError::forbidden(format!("{at}.volumeMounts[{i}].{key}"), FORBIDDEN));
            }
        }
    }
}

/// Validates the container's restart policy and rules.
fn restart(container: &Members<'_>, at: At<'_>, errors: &mut Vec<FieldError>) {
    const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
    let policy = container.get("restartPolicy").and_then(Value::as_str);
    let rules = container.list("restartPolicyRules");
    match policy {
        Some(p) if !POLICIES.contains(&p) => {
            errors.push(FieldError::not_supported(format!("{at}.restartPolicy"), p, POLICIES));
        }
        None if !rules.is_empty() => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(format!("{at}.restartPolicy"), detail));
        }
        _ => {}
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(format!("{at}.restartPolicyRules"), rules.len(), RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = format_args!("{at}.restartPolicyRules[{i}]");
        let action = access::text(rule, &["action"]);
        if !["Restart", "RestartAllContainers"].contains(&action) {
            errors.push(FieldError::not_supported(
                format!("{at}.action"),
                action,
                &["Restart", "RestartAllContainers"],
            ));
        }
        let Some(codes) = rule.get("exitCodes") else {
            errors.push(FieldError::required(format!("{at}.exitCodes"), "must be specified"));
            continue;
        };
        let operator = access::text(codes, &["operator"]);
        if !["In", "NotIn"].contains(&operator) {
            errors.push(FieldError::not_supported(
                format!("{at}.exitCodes.operator"),
                operator,
                &["In", "NotIn"],
            ));
        }
        let values = access::list(codes, &["values"]).len();
        if values > EXIT_CODES_MAX {
            errors.push(FieldError::too_many(format!("{at}.exitCodes.values"), values, EXIT_CODES_MAX));
        }
    }
}

/// Upstream's limits of restart rules: of a container, and of the exit codes of one of them.
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn env(container: &Members<'_>, at: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, env) in container.list("env").iter().enumerate() {
        let at = format_args!("{at}.env[{i}]");
        let name = access::text(env, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else {
            errors.extend(
                names::env_name(name).into_iter().map(|d| FieldError::invalid(format!("{at}.name"), name, d)),
            );
        }
        let Some(source) = env.get("valueFrom") else { continue };
        let at = format_args!("{at}.valueFrom");
        let kinds: Vec<&String> = source.as_object().into_iter().flat_map(|o| o.keys()).collect();
        if let Some(field) = source.get("fieldRef") {
            field_ref(field, format_args!("{at}.fieldRef"), ENV_FIELDS, errors);
        }
        if let Some(resource) = source.get("resourceFieldRef") {
            resource_ref(resource, format_args!("{at}.resourceFieldRef"), false, errors);
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(selector) = source.get(key) {
                key_ref(selector, format_args!("{at}.{key}"), errors);
            }
        }
        if let Some(selector) = source.get("fileKeyRef") {
            file_key_ref(selector, format_args!("{at}.fileKeyRef"), errors);
        }
        if kinds.is_empty() {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(at, "", detail));
        } else if !access::text(env, &["value"]).is_empty() {
            errors.push(FieldError::invalid(at, "", "may not be specified when `value` is not empty"));
        } else if kinds.len() > 1 {
            errors.push(FieldError::invalid(at, "", "may not have more than one field specified at a time"));
        }
    }
}

/// Validates a reference to a field of the Pod.
pub(super) fn field_ref(field: &Value, at: At<'_>, allowed: &[&str], errors: &mut Vec<FieldError>) {
    let (version, path) = (access::text(field, &["apiVersion"]), access::text(field, &["fieldPath"]));
    if version.is_empty() {
        errors.push(FieldError::required(format!("{at}.apiVersion"), ""));
    } else if path.is_empty() {
        errors.push(FieldError::required(format!("{at}.fieldPath"), ""));
    } else if version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        errors.push(FieldError::invalid(format!("{at}.fieldPath"), path, why));
    } else if let Some((name, key)) = subscript(path) {
        let key = match name {
            "metadata.labels" => key.to_owned(),
            "metadata.annotations" => key.to_lowercase(),
            _ => {
                let why =
                    format!("error converting fieldPath: field label does not support subscript: {path}");
                errors.push(FieldError::invalid(format!("{at}.fieldPath"), path, why));
                return;
            }
        };
        let wrong = names::qualified(&key);
        errors.extend(wrong.into_iter().map(|d| FieldError::invalid(at, key.as_str(), d)));
    } else if !allowed.contains(&path) {
        let unknown = !KNOWN_FIELDS.contains(&path) && !ENV_FIELDS.contains(&path);
        if unknown {
            errors.push(FieldError::invalid(
                format!("{at}.fieldPath"),
                path,
                format!("error converting fieldPath: field label not supported: {path}"),
            ));
        } else {
            errors.push(FieldError::not_supported(format!("{at}.fieldPath"), path, allowed));
        }
    }
}

const KNOWN_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];

/// Name and key of `name['key']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(name, _)| !name.is_empty())
}

/// Validates a reference to a resource of a container.
pub(super) fn resource_ref(reference: &Value, at: At<'_>, volume: bool, errors: &mut Vec<FieldError>) {
    let resource = access::text(reference, &["resource"]);
    if volume && access::text(reference, &["containerName"]).is_empty() {
        errors.push(FieldError::required(format!("{at}.containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(format!("{at}.resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&resource) && !resource.contains(".hugepages-") {
        errors.push(FieldError::not_supported(format!("{at}.resource"), resource, RESOURCE_FIELDS));
    }
    let divisor = access::text(reference, &["divisor"]);
    let (noun, allowed): (&str, &[&str]) = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => ("cpu", &["0", "1m", "1"]),
        "memory" => ("memory", BYTES),
        "ephemeral-storage" => ("local ephemeral storage", BYTES),
        _ => return,
    };
    if !divisor.is_empty() && !allowed.contains(&divisor) {
        let listed = if noun == "cpu" {
            "1m and 1"
        } else {
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
        };
        let detail = format!("only divisor's values {listed} are supported with the {noun} resource");
        errors.push(FieldError::invalid(format!("{at}.divisor"), resource, detail));
    }
}

const BYTES: &[&str] =
    &["0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

fn key_ref(selector: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let name = access::text(selector, &["name"]);
    let wrong = names::dns_subdomain(name).into_iter();
    errors.extend(wrong.map(|d| FieldError::invalid(format!("{at}.name"), name, d)));
    match access::text(selector, &["key"]) {
        "" => errors.push(FieldError::required(format!("{at}.key"), "")),
        key => errors.extend(
            names::config_key(key).into_iter().map(|d| FieldError::invalid(format!("{at}.key"), key, d)),
        ),
    }
}

/// A variable in a file of a volume.
fn file_key_ref(selector: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let text = |member: &str| access::text(selector, &[member]);
    let formats: [(&str, Format); 2] = [("key", names::env_name), ("volumeName", names::dns_label)];
    for (member, format) in formats {
        match text(member) {
            "" => errors.push(FieldError::required(format!("{at}.{member}"), "")),
            value => {
                let wrong = format(value).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.{member}"), value, why)));
            }
        }
    }
    match text("path") {
        "" => errors.push(FieldError::required(format!("{at}.path"), "")),
        path if path.split('/').any(|part| part == "..") => {
            errors.push(FieldError::invalid(format!("{at}.path"), path, "must not contain '..'"));
        }
        _ => {}
    }
}

fn env_from(container: &Members<'_>, at: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, source) in container.list("envFrom").iter().enumerate() {
        // Upstream's path of the last two errors has no index.
        let list = format_args!("{at}.envFrom");
        let at = format_args!("{list}[{i}]");
        let prefix = access::text(source, &["prefix"]);
        if !prefix.is_empty() {
            let wrong = names::env_name(prefix);
            errors.extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.prefix"), prefix, d)));
        }
        let mut kinds = 0;
        for key in ["configMapRef", "secretRef"] {
            let Some(reference) = source.get(key) else { continue };
            kinds += 1;
            let at = format_args!("{at}.{key}.name");
            let name = access::text(reference, &["name"]);
            if name.is_empty() {
                errors.push(FieldError::required(at, ""));
            } else {
                // As a prefix of names, it may end in a dash.
                let wrong = names::dns_subdomain(name.strip_suffix('-').unwrap_or(name));
                errors.extend(wrong.into_iter().map(|d| FieldError::invalid(at, name, d)));
            }
        }
        if kinds != 1 {
            let detail = if kinds == 0 {
                "must specify one of: `configMapRef` or `secretRef`"
            } else {
                "may not have more than one field specified at a time"
            };
            errors.push(FieldError::invalid(list, "", detail));
        }
    }
}
