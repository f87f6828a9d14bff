//! The user that the claims of a verified token make.

use shim_model::go_quote::Quoted;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::expressions::{Expression, Subject};
use super::{JwtAuthenticator, Mapping, ValidationRule};
use crate::cel::Val;

/// Where the id of the token is kept.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The user that a token is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct JwtUser {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl JwtUser {
    fn to_value(&self) -> Value {
        json!({"username": self.name, "uid": self.uid, "groups": self.groups, "extra": self.extra})
    }
}

impl JwtAuthenticator {
    /// The claim with the groups, if they come from one.
    pub fn groups_claim(&self) -> Option<&str> {
        match &self.groups {
            Some(Mapping::Claim { claim, .. }) => Some(claim),
            _ => None,
        }
    }

    /// The user of a token with these claims, which are an object.
    ///
    /// # Errors
    /// Claims that are missing, have another type, or do not meet a rule.
    pub fn user(&self, claims: &Value) -> Result<JwtUser, String> {
        let members = claims.as_object().ok_or("oidc: parse claims: the payload is not an object")?;
        let user = JwtUser {
            name: self.name(claims, members)?,
            groups: self.groups_of(claims, members)?,
            uid: self.uid_of(claims, members)?,
            extra: self.extra_of(claims, members)?,
        };
        for (claim, wanted) in &self.required_claims {
            let Some(value) = members.get(claim) else {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            };
            let found = text(value).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
            if found != wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        check(&self.claim_rules, Subject::Token, claims, "claim validation expression")?;
        if !self.user_rules.is_empty() {
            check(&self.user_rules, Subject::User, &user.to_value(), "user info validation rule")?;
        }
        Ok(user)
    }

    fn name(&self, claims: &Value, members: &Map<String, Value>) -> Result<String, String> {
        let (claim, prefix) = match &self.username {
            Mapping::Claim { claim, prefix } => (claim, prefix),
            Mapping::Expression(expression) => {
                return match evaluate(expression, claims, "username claim expression")? {
                    Val::Text(name) if name.as_str().is_empty() => {
                        Err("oidc: empty username via CEL expression is not allowed".to_owned())
                    }
                    Val::Text(name) => Ok(name.as_str().to_owned()),
                    _ => Err(failed(
                        "username claim expression",
                        "username claim expression must return a string",
                    )),
                };
            }
        };
        let name = members.get(claim).ok_or_else(|| "claim not present".to_owned()).and_then(text);
        let name =
            name.map_err(|why| format!("oidc: parse username claims {claim}: {why}", claim = Quoted(claim)))?;
        if claim == "email"
            && let Some(verified) = members.get("email_verified")
        {
            match verified {
                Value::Bool(true) => {}
                Value::Bool(false) | Value::Null => return Err("oidc: email not verified".to_owned()),
                other => {
                    let why = mismatch(other, "bool");
                    return Err(format!("oidc: parse 'email_verified' claim: {why}"));
                }
            }
        }
        Ok(format!("{prefix}{name}"))
    }

    fn groups_of(&self, claims: &Value, members: &Map<String, Value>) -> Result<Vec<String>, String> {
        match &self.groups {
            None => Ok(Vec::new()),
            Some(Mapping::Claim { claim, prefix }) => {
                let Some(value) = members.get(claim) else { return Ok(Vec::new()) };
                let groups = texts(value).map_err(|why| {
                    format!("oidc: parse groups claim {claim}: {why}", claim = Quoted(claim))
                })?;
                Ok(groups.iter().map(|group| format!("{prefix}{group}")).collect())
            }
            Some(Mapping::Expression(expression)) => {
                let found = evaluate(expression, claims, "group claim expression")?;
                strings(&found).map_err(|why| failed("group claim expression", why))
            }
        }
    }

    fn uid_of(&self, claims: &Value, members: &Map<String, Value>) -> Result<String, String> {
        match &self.uid {
            None => Ok(String::new()),
            Some(Mapping::Claim { claim, .. }) => {
                let value = members.get(claim).ok_or_else(|| "claim not present".to_owned());
                let uid = value
                    .and_then(text)
                    .map_err(|why| format!("oidc: parse uid claim {claim}: {why}", claim = Quoted(claim)))?;
                Ok(uid.to_owned())
            }
            Some(Mapping::Expression(expression)) => {
                match evaluate(expression, claims, "uid claim expression")? {
                    Val::Text(uid) => Ok(uid.as_str().to_owned()),
                    _ => Err(failed("uid claim expression", "uid claim expression must return a string")),
                }
            }
        }
    }

    fn extra_of(
        &self,
        claims: &Value,
        members: &Map<String, Value>,
    ) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut extra = BTreeMap::new();
        if let Some(id) = members.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, expression) in &self.extra {
            let found = expression.evaluate(Subject::Token, claims)?;
            let values = strings(&found)
                .map_err(|why| failed("extra claim expression", format!("{}: {why}", expression.source())))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        Ok(extra)
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> String {
    format!("oidc: error evaluating {what}: {why}")
}

fn evaluate<'v>(expression: &Expression, claims: &'v Value, what: &str) -> Result<Val<'v>, String> {
    expression.evaluate(Subject::Token, claims).map_err(|why| failed(what, why))
}

/// Requires that all conditions are true.
fn check(rules: &[ValidationRule], subject: Subject, input: &Value, what: &str) -> Result<(), String> {
    for ValidationRule { expression, message } in rules {
        match expression.evaluate(subject, input).map_err(|why| failed(what, why))? {
            Val::Bool(true) => {}
            Val::Bool(false) => {
                let why = format!("validation expression '{}' failed: {message}", expression.source());
                return Err(failed(what, why));
            }
            _ => return Err(failed(what, "validation expression must return a boolean")),
        }
    }
    Ok(())
}

/// A claim that must be a text; null is an empty one, as Go decodes it.
fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(mismatch(other, "string")),
    }
}

/// A claim that is a text or a list of texts.
fn texts(value: &Value) -> Result<Vec<&str>, String> {
    let list = || value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    match (value, list()) {
        (Value::Null, _) => Ok(Vec::new()),
        (_, Some(list)) => Ok(list),
        (value, None) => text(value).map(|text| vec![text]),
    }
}

fn mismatch(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// The strings of a value that is one, or a list of them; empty ones are left out.
fn strings(value: &Val<'_>) -> Result<Vec<String>, &'static str> {
    let refused = "expression must return a string or a list of strings";
    let all = match value {
        Val::Null => Vec::new(),
        Val::Text(text) => vec![text.as_str().to_owned()],
        Val::List(list) => list
            .iter()
            .map(|item| item.as_text().map(str::to_owned).ok_or(refused))
            .collect::<Result<Vec<_>, _>>()?,
        _ => return Err(refused),
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}
