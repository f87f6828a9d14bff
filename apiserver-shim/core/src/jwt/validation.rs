//! The rules of an `AuthenticationConfiguration`; what is valid is compiled.

use std::collections::BTreeSet;

use shim_model::field::FieldError;

use super::expressions::{Expression, Subject};
use super::{
    Anonymous, AuthenticationConfiguration, File, FileAnonymous, FileClaimRule, FileExtra, FileIssuer,
    FileJwt, FileMapping, FileMappings, FileUid, FileUserRule, ISSUERS_MAX, Issuer, JwtAuthenticator,
    Mapping, ValidationRule,
};
use crate::kinds::check_domain_prefixed_path;

/// Why a PEM text holds no authority that can be used.
pub type CheckAuthority<'a> = &'a dyn Fn(&str) -> Result<(), String>;

type Errors = Vec<FieldError>;

pub(super) fn configuration(
    file: File,
    own_issuers: &[&str],
    check_authority: CheckAuthority<'_>,
    errors: &mut Errors,
) -> AuthenticationConfiguration {
    let list = file.jwt.unwrap_or_default();
    if list.len() > ISSUERS_MAX {
        errors.push(FieldError::too_many("jwt", list.len(), ISSUERS_MAX));
        return AuthenticationConfiguration::default();
    }
    let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
    let mut jwt = Vec::new();
    for (i, one) in list.into_iter().enumerate() {
        let at = format!("jwt[{i}]");
        let url = one.issuer.url.clone();
        let discovery_url = one.issuer.discovery_url.clone().unwrap_or_default();
        jwt.push(authenticator(one, &at, own_issuers, check_authority, errors));
        if !urls.insert(url.clone()) {
            errors.push(FieldError::duplicate(format!("{at}.issuer.url"), url));
        }
        if !discovery_url.is_empty() && !discovery_urls.insert(discovery_url.clone()) {
            errors.push(FieldError::duplicate(format!("{at}.issuer.discoveryURL"), discovery_url));
        }
    }
    let anonymous = file.anonymous.map(|anonymous| self::anonymous(anonymous, errors));
    AuthenticationConfiguration { jwt, anonymous }
}

fn anonymous(file: FileAnonymous, errors: &mut Errors) -> Anonymous {
    let paths: Vec<String> = file.conditions.into_iter().flatten().map(|condition| condition.path).collect();
    if !file.enabled && !paths.is_empty() {
        let why = "enabled should be set to true when conditions are defined";
        errors.push(FieldError::invalid_shown("anonymous.conditions", format!("{paths:?}"), why));
    }
    Anonymous { enabled: file.enabled, paths }
}

fn authenticator(
    file: FileJwt,
    at: &str,
    own_issuers: &[&str],
    check_authority: CheckAuthority<'_>,
    errors: &mut Errors,
) -> JwtAuthenticator {
    let issuer = issuer(file.issuer, &format!("{at}.issuer"), own_issuers, check_authority, errors);
    let rules = file.claim_validation_rules.unwrap_or_default();
    let (required_claims, claim_rules) = claim_rules(rules, &format!("{at}.claimValidationRules"), errors);
    let mappings = mappings(file.claim_mappings, &format!("{at}.claimMappings"), &claim_rules, errors);
    let user_rules = user_rules(
        file.user_validation_rules.unwrap_or_default(),
        &format!("{at}.userValidationRules"),
        errors,
    );
    let Mappings { username, groups, uid, extra } = mappings;
    JwtAuthenticator { issuer, required_claims, claim_rules, username, groups, uid, extra, user_rules }
}

fn issuer(
    file: FileIssuer,
    at: &str,
    own_issuers: &[&str],
    check_authority: CheckAuthority<'_>,
    errors: &mut Errors,
) -> Issuer {
    let url_at = format!("{at}.url");
    match file.url.as_str() {
        "" => errors.push(FieldError::required(&url_at, "")),
        url => {
            if own_issuers.contains(&url) {
                let why =
                    format!("URL must not overlap with disallowed issuers: [{}]", own_issuers.join(" "));
                errors.push(FieldError::invalid(&url_at, url, why));
            }
            check_url(url, &url_at, errors);
        }
    }
    let discovery_url = file.discovery_url.filter(|url| !url.is_empty());
    if let Some(url) = &discovery_url {
        let url_at = format!("{at}.discoveryURL");
        if !file.url.is_empty() && file.url.trim_end_matches('/') == url.trim_end_matches('/') {
            errors.push(FieldError::invalid(
                &url_at,
                url.as_str(),
                "discoveryURL must be different from URL",
            ));
        }
        check_url(url, &url_at, errors);
    }
    let audiences = file.audiences.unwrap_or_default();
    check_audiences(&audiences, &file.audience_match_policy, at, errors);
    if !file.certificate_authority.is_empty()
        && let Err(why) = check_authority(&file.certificate_authority)
    {
        errors.push(FieldError::invalid(format!("{at}.certificateAuthority"), "<omitted>", why));
    }
    if !file.egress_selector_type.is_empty() {
        let why = "this server has no egress selectors";
        errors.push(FieldError::forbidden(format!("{at}.egressSelectorType"), why));
    }
    Issuer { url: file.url, discovery_url, certificate_authority: file.certificate_authority, audiences }
}

fn check_url(url: &str, at: &str, errors: &mut Errors) {
    let mut refuse = |why: &str| errors.push(FieldError::invalid(at, url, why));
    let (before_fragment, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (location, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
    let (scheme, rest) = location.split_once("://").unwrap_or(("", location));
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return refuse("net/url: invalid control character in URL");
    }
    if !scheme.eq_ignore_ascii_case("https") {
        refuse("URL scheme must be https");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        refuse("URL must not contain a username or password");
    }
    if !query.is_empty() {
        refuse("URL must not contain a query");
    }
    if !fragment.is_empty() {
        refuse("URL must not contain a fragment");
    }
}

fn check_audiences(audiences: &[String], policy: &str, at: &str, errors: &mut Errors) {
    let (list_at, policy_at) = (format!("{at}.audiences"), format!("{at}.audienceMatchPolicy"));
    if audiences.is_empty() {
        errors.push(FieldError::required(&list_at, format!("at least one {list_at} is required")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, audience) in audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.push(FieldError::required(format!("{list_at}[{i}]"), ""));
        }
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(format!("{list_at}[{i}]"), audience.as_str()));
        }
    }
    if audiences.len() > 1 && policy != "MatchAny" {
        let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
        errors.push(FieldError::invalid(&policy_at, policy, why));
    }
    if audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
        let why = "audienceMatchPolicy must be empty or MatchAny for single audience";
        errors.push(FieldError::invalid(&policy_at, policy, why));
    }
}

fn claim_rules(
    rules: Vec<FileClaimRule>,
    at: &str,
    errors: &mut Errors,
) -> (Vec<(String, String)>, Vec<ValidationRule>) {
    let (mut required, mut compiled) = (Vec::new(), Vec::new());
    let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
    for (i, FileClaimRule { claim, required_value, expression, message }) in rules.into_iter().enumerate() {
        let at = format!("{at}[{i}]");
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => {
                errors.push(FieldError::invalid(at, claim, "claim and expression can't both be set"));
            }
            (true, true) => errors.push(FieldError::required(at, "claim or expression is required")),
            (false, true) => {
                if !message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(FieldError::invalid(format!("{at}.message"), message, why));
                }
                if !claims.insert(claim.clone()) {
                    errors.push(FieldError::duplicate(format!("{at}.claim"), claim.as_str()));
                }
                required.push((claim, required_value));
            }
            (true, false) => {
                if !required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    errors.push(FieldError::invalid(format!("{at}.requiredValue"), required_value, why));
                }
                let at = format!("{at}.expression");
                if !expressions.insert(expression.clone()) {
                    errors.push(FieldError::duplicate(at, expression));
                    continue;
                }
                match Expression::compile(Subject::Token, &expression, true, &at) {
                    Ok(expression) => compiled.push(ValidationRule { expression, message }),
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    (required, compiled)
}

fn user_rules(rules: Vec<FileUserRule>, at: &str, errors: &mut Errors) -> Vec<ValidationRule> {
    let mut compiled = Vec::new();
    let mut seen = BTreeSet::new();
    for (i, FileUserRule { expression, message }) in rules.into_iter().enumerate() {
        let at = format!("{at}[{i}].expression");
        if expression.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !seen.insert(expression.clone()) {
            errors.push(FieldError::duplicate(at, expression));
        } else {
            match Expression::compile(Subject::User, &expression, true, &at) {
                Ok(expression) => compiled.push(ValidationRule { expression, message }),
                Err(error) => errors.push(error),
            }
        }
    }
    compiled
}

struct Mappings {
    username: Mapping,
    groups: Option<Mapping>,
    uid: Option<Mapping>,
    extra: Vec<(String, Expression)>,
}

fn mappings(file: FileMappings, at: &str, claim_rules: &[ValidationRule], errors: &mut Errors) -> Mappings {
    let username_source = file.username.expression.clone();
    let username = mapping(file.username, &format!("{at}.username"), true, errors);
    let groups = mapping(file.groups, &format!("{at}.groups"), false, errors);
    let uid = uid_mapping(file.uid, &format!("{at}.uid"), errors);
    let extra = extra_mappings(file.extra.unwrap_or_default(), &format!("{at}.extra"), errors);
    if let Some(Mapping::Expression(name)) = &username {
        let all = [name].into_iter().chain(claim_rules.iter().map(|rule| &rule.expression));
        let mut all = all.chain(extra.iter().map(|(_, expression)| expression));
        if name.uses_claim("email") && !all.any(|expression| expression.uses_claim("email_verified")) {
            let why = "claims.email_verified must be used in claimMappings.username.expression or \
                       claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
                       claimMappings.username.expression";
            errors.push(FieldError::invalid(format!("{at}.username.expression"), username_source, why));
        }
    }
    // Without a mapping there is an error, so that this one is never used.
    let none = || Mapping::Claim { claim: String::new(), prefix: String::new() };
    Mappings { username: username.unwrap_or_else(none), groups, uid, extra }
}

fn mapping(file: FileMapping, at: &str, required: bool, errors: &mut Errors) -> Option<Mapping> {
    let FileMapping { claim, prefix, expression } = file;
    match (claim.is_empty(), expression.is_empty()) {
        (false, false) => {
            errors.push(FieldError::invalid(at, "", "claim and expression can't both be set"));
            None
        }
        (true, true) => {
            if required {
                errors.push(FieldError::required(at, "claim or expression is required"));
            }
            None
        }
        (true, false) => {
            if let Some(prefix) = prefix {
                let why = "may not be specified when expression is set";
                errors.push(FieldError::invalid(format!("{at}.prefix"), prefix, why));
            }
            compile(&expression, &format!("{at}.expression"), errors).map(Mapping::Expression)
        }
        (false, true) => {
            let Some(prefix) = prefix else {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.push(FieldError::required(format!("{at}.prefix"), why));
                return None;
            };
            Some(Mapping::Claim { claim, prefix })
        }
    }
}

fn uid_mapping(file: FileUid, at: &str, errors: &mut Errors) -> Option<Mapping> {
    let FileUid { claim, expression } = file;
    match (claim.is_empty(), expression.is_empty()) {
        (false, false) => {
            errors.push(FieldError::invalid(at, "", "claim and expression can't both be set"));
            None
        }
        (true, true) => None,
        (true, false) => compile(&expression, &format!("{at}.expression"), errors).map(Mapping::Expression),
        (false, true) => Some(Mapping::Claim { claim, prefix: String::new() }),
    }
}

fn extra_mappings(list: Vec<FileExtra>, at: &str, errors: &mut Errors) -> Vec<(String, Expression)> {
    let mut compiled = Vec::new();
    let mut seen = BTreeSet::new();
    for (i, FileExtra { key, value_expression }) in list.into_iter().enumerate() {
        let at = format!("{at}[{i}]");
        let key_at = format!("{at}.key");
        check_key(&key, &key_at, errors);
        if !seen.insert(key.clone()) {
            errors.push(FieldError::duplicate(key_at, key));
            continue;
        }
        let at = format!("{at}.valueExpression");
        if value_expression.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if let Some(expression) = compile(&value_expression, &at, errors) {
            compiled.push((key, expression));
        }
    }
    compiled
}

fn check_key(key: &str, at: &str, errors: &mut Errors) {
    check_domain_prefixed_path(key, at, errors);
    if key != key.to_lowercase() {
        errors.push(FieldError::invalid(at, key, "must be lowercase"));
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within("kubernetes.io") || within("k8s.io") {
        let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        errors.push(FieldError::invalid(at, key, why));
    }
}

fn compile(source: &str, at: &str, errors: &mut Errors) -> Option<Expression> {
    Expression::compile(Subject::Token, source, false, at).map_err(|error| errors.push(error)).ok()
}
