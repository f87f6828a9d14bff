//! Impersonation: the headers `Impersonate-User`, `-Group`, `-Uid` and `-Extra-*`. Each value is one question to the
//! authorizer, with the verb `impersonate`.

use std::collections::BTreeMap;

use http::HeaderMap;
use shim_core::authorization::{AccessRequest, RequestedResource};
use shim_model::names;
use shim_model::status::{self, Status};

use super::{AUTHENTICATED, SERVICE_ACCOUNT, UNAUTHENTICATED, User, service_account_groups};
use crate::request::query::percent_decode;

/// The API group of the attributes that are neither users nor groups.
const GROUP: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";

/// Whom a request impersonates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    name: String,
    groups: Vec<String>,
    uid: String,
    /// Keys in lower case with their values, in the order of the headers.
    extra: Vec<(String, String)>,
}

impl Impersonation {
    /// Reads the headers of a request; `None` if it impersonates nobody.
    pub fn of(headers: &HeaderMap) -> Result<Option<Impersonation>, Status> {
        if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
            return Ok(None);
        }
        let texts = |name: &str| -> Vec<String> {
            headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
        };
        let first = |name: &str| texts(name).into_iter().next().unwrap_or_default();
        let extra = headers.iter().filter_map(|(name, value)| {
            let key = percent_decode(name.as_str().strip_prefix(EXTRA)?, false);
            Some((key, value.to_str().ok()?.to_owned()))
        });
        let wanted = Impersonation {
            name: first("impersonate-user"),
            groups: texts("impersonate-group"),
            uid: first("impersonate-uid"),
            extra: extra.collect(),
        };
        if !wanted.name.is_empty() {
            return Ok(Some(wanted));
        }
        let others = wanted.shown();
        match others.is_empty() {
            true => Ok(None),
            false => Err(status::bad_request(format!(
                "requested [{}] without impersonating a user",
                others.join(" ")
            ))),
        }
    }

    /// What is asked for besides the user, as upstream prints object references.
    fn shown(&self) -> Vec<String> {
        let version = format!("{GROUP}/v1");
        let groups = self.groups.iter().map(|group| format!("{{Group  {group}    }}"));
        let extra = self.extra.iter().map(|(key, value)| format!("{{UserExtra  {value}  {version}  {key}}}"));
        let uid = Some(&self.uid).filter(|uid| !uid.is_empty());
        groups.chain(extra).chain(uid.map(|uid| format!("{{UID  {uid}  {version}  }}"))).collect()
    }

    /// The service account that the user name is: namespace and name.
    fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
        let valid = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
        valid.then_some((namespace, name))
    }

    /// The requests that the user must be allowed.
    pub fn requests(&self) -> Vec<AccessRequest<'_>> {
        let none = RequestedResource::default();
        let user = match self.service_account() {
            Some((namespace, name)) => {
                RequestedResource { resource: "serviceaccounts", namespace, name, ..none }
            }
            None => RequestedResource { resource: "users", name: &self.name, ..none },
        };
        let groups = self.groups.iter().map(|name| RequestedResource { resource: "groups", name, ..none });
        let extra = self.extra.iter().map(|(subresource, name)| RequestedResource {
            group: GROUP,
            resource: "userextras",
            subresource,
            name,
            ..none
        });
        let uid = Some(&self.uid).filter(|uid| !uid.is_empty());
        let uid = uid.map(|name| RequestedResource { group: GROUP, resource: "uids", name, ..none });
        let all = std::iter::once(user).chain(groups).chain(extra).chain(uid);
        all.map(|resource| AccessRequest::resource("impersonate", resource)).collect()
    }

    /// The user to act as.
    pub fn user(self) -> User {
        let mut groups = match self.service_account() {
            Some((namespace, _)) if self.groups.is_empty() => service_account_groups(namespace),
            _ => self.groups,
        };
        let has = |groups: &[String], group: &str| groups.iter().any(|own| own == group);
        if self.name == "system:anonymous" {
            if !has(&groups, UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !has(&groups, AUTHENTICATED) && !has(&groups, UNAUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in self.extra {
            extra.entry(key).or_default().push(value);
        }
        User { name: self.name, uid: self.uid, groups, extra }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        match Impersonation::of(&map) {
            Ok(None) => "nobody".to_owned(),
            Err(status) => status.message,
            Ok(Some(wanted)) => {
                let asks: Vec<String> = wanted.requests().iter().map(ask).collect();
                let user = wanted.user();
                format!("{} | {:?} {:?} {:?}", asks.join(", "), user.groups, user.uid, user.extra)
            }
        }
    }

    fn ask(request: &AccessRequest<'_>) -> String {
        let shim_core::authorization::Requested::Resource(of) = request.object else { unreachable!() };
        format!("{}:{} {}/{}", of.group, of.qualified(), of.namespace, of.name)
    }

    #[test]
    fn each_header_is_a_question_and_groups_are_completed() {
        let cases: &[&[(&str, &str)]] = &[
            &[],
            &[("impersonate-user", "jane")],
            &[("impersonate-user", "system:serviceaccount:ns:a")],
            &[("impersonate-user", "system:serviceaccount:ns:a"), ("impersonate-group", "g")],
            &[("impersonate-user", "system:serviceaccount:N:a")],
            &[("impersonate-user", "system:anonymous"), ("impersonate-group", "g")],
            &[("impersonate-user", "jane"), ("impersonate-group", "system:unauthenticated")],
            &[
                ("impersonate-user", "jane"),
                ("impersonate-uid", "1"),
                ("impersonate-extra-a%2fb", "x"),
                ("impersonate-extra-a%2fb", "y"),
            ],
            &[("impersonate-group", "g"), ("impersonate-uid", "1"), ("impersonate-extra-k", "v")],
        ];
        let lines: Vec<String> = cases.iter().map(|headers| shown(headers)).collect();
        expect_test::expect![[r#"
            nobody
            :users /jane | ["system:authenticated"] "" {}
            :serviceaccounts ns/a | ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"] "" {}
            :serviceaccounts ns/a, :groups /g | ["g", "system:authenticated"] "" {}
            :users /system:serviceaccount:N:a | ["system:authenticated"] "" {}
            :users /system:anonymous, :groups /g | ["g", "system:unauthenticated"] "" {}
            :users /jane, :groups /system:unauthenticated | ["system:unauthenticated"] "" {}
            :users /jane, authentication.k8s.io:userextras/a/b /x, authentication.k8s.io:userextras/a/b /y, authentication.k8s.io:uids /1 | ["system:authenticated"] "1" {"a/b": ["x", "y"]}
            requested [{Group  g    } {UserExtra  v  authentication.k8s.io/v1  k} {UID  1  authentication.k8s.io/v1  }] without impersonating a user"#]].assert_eq(&lines.join("\n"));
    }
}
