//! Validation of the Windows options of security contexts.

use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;

const SPEC_MAX: usize = 64 * 1024;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// Validates the options at `at`, if there are some.
pub(super) fn options(options: Option<&Value>, at: At<'_>, errors: &mut Vec<FieldError>) {
    let text = |key: &str| options?.get(key)?.as_str();
    if let Some(name) = text("gmsaCredentialSpecName") {
        let wrong = names::dns_subdomain(name).into_iter();
        errors
            .extend(wrong.map(|why| FieldError::invalid(format!("{at}.gmsaCredentialSpecName"), name, why)));
    }
    if let Some(spec) = text("gmsaCredentialSpec") {
        let why = match spec.len() {
            0 => Some("gmsaCredentialSpec cannot be an empty string"),
            length if length > SPEC_MAX => Some("gmsaCredentialSpec size must be under 64 KiB"),
            _ => None,
        };
        errors.extend(why.map(|why| FieldError::invalid(format!("{at}.gmsaCredentialSpec"), spec, why)));
    }
    if let Some(user) = text("runAsUserName") {
        let wrong = user_name(user).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.runAsUserName"), user, why)));
    }
}

/// What is wrong with a user of Windows: `DOMAIN\user`, or without domain.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.contains(|c: char| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    if name.matches('\\').count() > 1 {
        return vec!["runAsUserName cannot contain more than one backslash".to_owned()];
    }
    let (domain, user) = name.split_once('\\').map_or((None, name), |(domain, user)| (Some(domain), user));
    let mut out = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_MAX {
            out.push(format!("runAsUserName's Domain length must be under {DOMAIN_MAX} characters"));
        }
        if !is_netbios(domain) && !is_dns(domain) {
            out.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        out.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        out.push(format!("runAsUserName's User length must not be longer than {USER_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        out.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        out.push(
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned(),
        );
    }
    out
}

fn is_netbios(domain: &str) -> bool {
    let known = |c: char| !['\\', '/', ':', '*', '?', '"', '<', '>', '|'].contains(&c);
    !domain.is_empty()
        && !domain.starts_with('.')
        && domain.chars().count() <= 15
        && domain.chars().all(known)
}

/// Labels of letters, digits and inner dashes, separated by dots.
fn is_dns(domain: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let label = |label: &str| {
        label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
    };
    domain.split('.').all(label)
}

/// Containers that are processes of a Windows node: all of a Pod are, or none, and they use the node's network.
pub(super) fn host_processes(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    const FLAG: [&str; 3] = ["securityContext", "windowsOptions", "hostProcess"];
    let flag = |of: &Value| access::get(of, &FLAG).and_then(Value::as_bool);
    let of_pod = spec.get("securityContext").map_or(&Value::Null, |context| context);
    let of_pod = access::get(of_pod, &FLAG[1..]).and_then(Value::as_bool);
    let (mut all, mut processes) = (0, 0);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in spec.list(list).iter().enumerate() {
            let own = flag(container);
            all += 1;
            processes += usize::from(own.or(of_pod) == Some(true));
            if let (Some(pod), Some(own)) = (of_pod, own)
                && pod != own
            {
                let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
                let path = format!("{field}.{list}[{at}].{}", FLAG.join("."));
                errors.push(FieldError::invalid(path, own, why));
            }
        }
    }
    if processes == 0 {
        return;
    }
    if processes != all {
        let why =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(field, "", why));
    }
    if !spec.flag("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(format!("{field}.hostNetwork"), false, why));
    }
}
