//! Credentials, their header, realms and ACLs.

use hyper::header::HeaderValue;
use kernel_core::master::{Entity, RunAsRule};

use super::*;

fn headers(authorization: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
}

fn admitted(access: &Access, authorization: Option<&str>) -> Result<Caller, String> {
    let headers = authorization.map(headers).unwrap_or_default();
    access.admit(Realm::MasterScheduler, &headers).map_err(|answer| {
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned()
    })
}

#[test]
fn only_a_right_secret_is_admitted() {
    let json = r#"{"credentials": [{"principal": "a", "secret": "s:1"}, {"principal": "b", "secret": "x"}]}"#;
    let access = Access::with(Credentials::parse(json).unwrap());
    let principal = |name: &str| Ok(Caller::Principal(name.to_owned()));
    assert_eq!(admitted(&access, Some(&Credential::new("a", "s:1").basic())), principal("a"));
    assert_eq!(admitted(&access, Some(&Credential::new("b", "x").basic())), principal("b"));
    let wrong = [
        Credential::new("a", "x").basic(),
        Credential::new("a", "").basic(),
        Credential::new("c", "").basic(),
        Credential::new("a", "s:1").basic().replace("Basic", "Bearer"),
        "Basic".to_owned(),
        "Basic !".to_owned(),
        format!("Basic {}", STANDARD.encode("a")),
    ];
    for authorization in wrong.iter().map(|text| Some(text.as_str())).chain([None]) {
        let challenge = admitted(&access, authorization).unwrap_err();
        assert_eq!(challenge, "Basic realm=\"mesos-master-scheduler\"", "{authorization:?}");
    }
    assert_eq!(access.health(), "");
}

#[test]
fn the_default_admits_nobody() {
    assert!(admitted(&Access::default(), None).is_err());
    assert!(admitted(&Access::default(), Some(&Credential::new("", "").basic())).is_err());
}

#[test]
fn an_open_server_says_so_and_refuses_wrong_secrets() {
    let credential = Credential::new("a", "s");
    let access = Access::with(Credentials::one(&credential)).or_anonymous(false);
    assert_eq!(admitted(&access, None), Ok(Caller::Anonymous));
    assert_eq!(admitted(&access, Some(&credential.basic())), Ok(Caller::Principal("a".to_owned())));
    assert!(admitted(&access, Some(&Credential::new("a", "t").basic())).is_err());
    assert!(access.health().starts_with("warning: "));
}

#[test]
fn secrets_are_not_printed() {
    let credential = Credential::new("name", "hidden");
    let access = Access::with(Credentials::one(&credential));
    assert!(!format!("{credential:?} {access:?}").contains("hidden"));
}

#[test]
fn unusable_credentials_are_refused() {
    for (json, why) in [
        ("", "Invalid json format: "),
        ("{}", "Failed to parse credentials: expecting a list"),
        (r#"{"credentials": [{"principal": "a"}]}"#, "expecting 'secret'"),
        (r#"{"credentials": [{"principal": "a:b", "secret": "s"}]}"#, "contains a colon"),
        (r#"{"credentials": [{"principal": "a", "secret": ""}]}"#, "is empty"),
        (r#"{"credentials": [{"principal": "catamaran-internal", "secret": "s"}]}"#, "is reserved"),
        (
            r#"{"credentials": [{"principal": "a", "secret": "s"}, {"principal": "a", "secret": "t"}]}"#,
            "listed twice",
        ),
    ] {
        let refused = Credentials::parse(json).unwrap_err().to_string();
        assert!(refused.contains(why), "{json}: {refused}");
    }
}

#[test]
fn acls_about_users() {
    let policy = parse_acls(
        r#"{"permissive": false, "run_tasks": [
            {"principals": {"values": ["spark"]}, "users": {"values": ["spark", "nobody"]}},
            {"principals": {"type": "ANY"}, "users": {"type": "NONE"}}]}"#,
    )
    .unwrap();
    assert!(!policy.permissive);
    let names = |names: &[&str]| Entity::Some(names.iter().map(|name| (*name).to_owned()).collect());
    let expected = [
        RunAsRule { principals: names(&["spark"]), users: names(&["spark", "nobody"]) },
        RunAsRule { principals: Entity::Any, users: Entity::None },
    ];
    assert_eq!(policy.rules, expected);
    for (json, why) in [
        ("[]", "expecting an object"),
        (r#"{"register_frameworks": []}"#, "'register_frameworks' is not supported"),
        (r#"{"run_tasks": [{"principals": {"type": "ANY"}}]}"#, "expecting 'principals' and 'users'"),
        (
            r#"{"run_tasks": [{"principals": {"type": "ANY"}, "users": {"type": "any"}}]}"#,
            "expecting the type",
        ),
        (r#"{"run_tasks": [{"principals": {}, "users": {"type": "ANY"}}]}"#, "expecting 'values'"),
    ] {
        let refused = parse_acls(json).unwrap_err().to_string();
        assert!(refused.contains(why), "{json}: {refused}");
    }
}
