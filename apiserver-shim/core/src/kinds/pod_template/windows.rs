//! Validation of the Windows options of security contexts.

use serde_json::Value;
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
