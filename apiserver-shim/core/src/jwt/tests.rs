//! Tests of issuers and their claims.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

const OWN: &str = "https://kubernetes.default.svc";

fn decode(jwt: Value) -> Result<AuthenticationConfiguration, AuthenticationConfigurationError> {
    let value = json!({"apiVersion": VERSIONS[0], "kind": KIND, "jwt": jwt});
    AuthenticationConfiguration::decode(&value, &[OWN], &|pem| match pem {
        "pem" => Ok(()),
        _ => Err("no certificate".to_owned()),
    })
}

fn refused(jwt: Value, expected: Expect) {
    let shown = decode(jwt).unwrap_err().to_string();
    expected.assert_eq(&shown.trim_matches(['[', ']']).replace(", jwt", "\njwt"));
}

fn issuer() -> Value {
    json!({"url": "https://issuer.example", "audiences": ["a"]})
}

fn with(mappings: Value, more: Value) -> Value {
    let mut one = json!({"issuer": issuer(), "claimMappings": mappings});
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([one])
}

fn user(mappings: Value, more: Value, claims: Value) -> String {
    let configuration = decode(with(mappings, more)).unwrap();
    match configuration.jwt[0].user(&claims) {
        Ok(user) => format!("{} {:?} {:?} {:?}", user.name, user.uid, user.groups, user.extra),
        Err(why) => why,
    }
}

#[test]
fn users_come_from_claims() {
    let mappings = json!({
        "username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": "g:"}, "uid": {"claim": "id"},
    });
    let of = |claims: Value| user(mappings.clone(), json!({}), claims);
    expect![[r#"
        oidc:jane "7" ["g:a", "g:b"] {"authentication.kubernetes.io/credential-id": ["JTI=t"]}
        oidc:jane "" ["g:a"] {}
        oidc:jane "7" [] {}
        oidc: parse username claims "sub": json: cannot unmarshal number into Go value of type string
        oidc: parse username claims "sub": claim not present
        oidc: parse groups claim "groups": json: cannot unmarshal array into Go value of type string
        oidc: parse uid claim "id": claim not present"#]]
    .assert_eq(
        &[
            of(json!({"sub": "jane", "groups": ["a", "b"], "id": "7", "jti": "t"})),
            of(json!({"sub": "jane", "groups": "a", "id": ""})),
            of(json!({"sub": "jane", "id": "7"})),
            of(json!({"sub": 5, "id": "7"})),
            of(json!({"id": "7"})),
            of(json!({"sub": "jane", "groups": [5], "id": "7"})),
            of(json!({"sub": "jane"})),
        ]
        .join("\n"),
    );
    let email = json!({"username": {"claim": "email", "prefix": ""}});
    let of = |claims: Value| user(email.clone(), json!({}), claims);
    assert_eq!(of(json!({"email": "a@b", "email_verified": true})), r#"a@b "" [] {}"#);
    assert_eq!(of(json!({"email": "a@b"})), r#"a@b "" [] {}"#);
    assert_eq!(of(json!({"email": "a@b", "email_verified": false})), "oidc: email not verified");
    let required = json!({"claimValidationRules": [{"claim": "hd", "requiredValue": "example"}]});
    let of =
        |claims: Value| user(json!({"username": {"claim": "sub", "prefix": ""}}), required.clone(), claims);
    assert_eq!(of(json!({"sub": "a", "hd": "example"})), r#"a "" [] {}"#);
    assert_eq!(of(json!({"sub": "a"})), "oidc: required claim hd not present in ID token");
    let other = of(json!({"sub": "a", "hd": "other"}));
    assert_eq!(other, "oidc: required claim hd value does not match. Got = other, want = example");
}

#[test]
fn users_come_from_expressions() {
    let mappings = json!({
        "username": {"expression": "claims.sub + ':' + claims.realm__dot__name"},
        "groups": {"expression": "claims.roles.split(',')"},
        "uid": {"expression": "claims.nested.id"},
        "extra": [
            {"key": "example.com/tenant", "valueExpression": "claims.?tenant.orValue('')"},
            {"key": "example.com/all", "valueExpression": "claims.nested.list"},
        ],
    });
    let more = json!({
        "claimValidationRules": [{"expression": "claims.exp - claims.nbf <= 86400", "message": "too long"}],
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
    });
    let of = |sub: &str, exp: i64, roles: Value| {
        let claims = json!({
            "sub": sub, "realm.name": "r", "roles": roles, "nested": {"id": "7", "list": ["x", "", "y"]}, "exp": exp, "nbf": 0,
        });
        user(mappings.clone(), more.clone(), claims)
    };
    expect![[r#"
        jane:r "7" ["a", "b"] {"example.com/all": ["x", "y"]}
        oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 86400' failed: too long
        oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved
        oidc: error evaluating group claim expression: expression 'claims.roles.split(',')' resulted in error: no such overload: split(double, string)"#]].assert_eq(
        &[
            of("jane", 86400, json!("a,b")),
            of("jane", 86401, json!("a,b")),
            of("system:root", 1, json!("a,b")),
            of("jane", 1, json!(5)),
        ]
        .join("\n"),
    );
    let of = |expression: &str, claims: Value| {
        user(json!({"username": {"expression": expression}}), json!({}), claims)
    };
    assert_eq!(of("claims.a", json!({"a": ""})), "oidc: empty username via CEL expression is not allowed");
    let wrong =
        "oidc: error evaluating username claim expression: username claim expression must return a string";
    assert_eq!(of("claims.a", json!({"a": 5})), wrong);
}

#[test]
fn wrong_issuers_are_refused() {
    let issuer = |issuer: Value| json!([{"issuer": issuer, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}]);
    refused(
        json!([{}]),
        expect![[r#"
        jwt[0].issuer.url: Required value
        jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required
        jwt[0].claimMappings.username: Required value: claim or expression is required"#]],
    );
    refused(
        issuer(
            json!({"url": "http://u:p@issuer.example?q=1#f", "audiences": ["a", "a", ""], "certificateAuthority": "?"}),
        ),
        expect![[r#"
            jwt[0].issuer.url: Invalid value: "http://u:p@issuer.example?q=1#f": URL scheme must be https
            jwt[0].issuer.url: Invalid value: "http://u:p@issuer.example?q=1#f": URL must not contain a username or password
            jwt[0].issuer.url: Invalid value: "http://u:p@issuer.example?q=1#f": URL must not contain a query
            jwt[0].issuer.url: Invalid value: "http://u:p@issuer.example?q=1#f": URL must not contain a fragment
            jwt[0].issuer.audiences[1]: Duplicate value: "a"
            jwt[0].issuer.audiences[2]: Required value
            jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences
            jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": no certificate"#]],
    );
    let own = json!({"url": OWN, "discoveryURL": format!("{OWN}/"), "audiences": ["a"], "audienceMatchPolicy": "MatchAll", "egressSelectorType": "cluster"});
    refused(
        issuer(own),
        expect![[r#"
        jwt[0].issuer.url: Invalid value: "https://kubernetes.default.svc": URL must not overlap with disallowed issuers: [https://kubernetes.default.svc]
        jwt[0].issuer.discoveryURL: Invalid value: "https://kubernetes.default.svc/": discoveryURL must be different from URL
        jwt[0].issuer.audienceMatchPolicy: Invalid value: "MatchAll": audienceMatchPolicy must be empty or MatchAny for single audience
        jwt[0].issuer.egressSelectorType: Forbidden: this server has no egress selectors"#]],
    );
    let good = json!({"url": "https://issuer.example", "discoveryURL": "https://other.example", "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny", "certificateAuthority": "pem"});
    assert!(decode(issuer(good.clone())).is_ok());
    let mut twice = issuer(good);
    let one = twice[0].clone();
    twice.as_array_mut().unwrap().push(one);
    refused(
        twice,
        expect![[r#"
        jwt[1].issuer.url: Duplicate value: "https://issuer.example"
        jwt[1].issuer.discoveryURL: Duplicate value: "https://other.example""#]],
    );
    let unknown = decode(issuer(json!({"uri": ""}))).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `uri`"), "{unknown}");
}

#[test]
fn wrong_rules_and_mappings_are_refused() {
    let name = json!({"username": {"claim": "sub", "prefix": ""}});
    let rules = json!({
        "claimValidationRules": [
            {}, {"claim": "a", "expression": "true"}, {"claim": "a", "message": "m"}, {"claim": "a"},
            {"expression": "true", "requiredValue": "v"}, {"expression": "true"}, {"expression": "claims"}, {"expression": "foo"},
        ],
        "userValidationRules": [{}, {"expression": "user.name == 'a'"}, {"expression": "user.uid"}, {"expression": "user.uid"}],
    });
    refused(
        with(name, rules),
        expect![[r#"
        jwt[0].claimValidationRules[0]: Required value: claim or expression is required
        jwt[0].claimValidationRules[1]: Invalid value: "a": claim and expression can't both be set
        jwt[0].claimValidationRules[2].message: Invalid value: "m": may not be specified when claim is set
        jwt[0].claimValidationRules[3].claim: Duplicate value: "a"
        jwt[0].claimValidationRules[4].requiredValue: Invalid value: "v": may not be specified when expression is set
        jwt[0].claimValidationRules[5].expression: Duplicate value: "true"
        jwt[0].claimValidationRules[6].expression: Invalid value: "claims": must evaluate to bool
        jwt[0].claimValidationRules[7].expression: Invalid value: "foo": compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')
         | foo
         | ^
        jwt[0].userValidationRules[0].expression: Required value
        jwt[0].userValidationRules[1].expression: Invalid value: "user.name == 'a'": compilation failed: ERROR: <input>:1:5: undefined field 'name'
         | user.name == 'a'
         | ....^
        jwt[0].userValidationRules[2].expression: Invalid value: "user.uid": must evaluate to bool
        jwt[0].userValidationRules[3].expression: Duplicate value: "user.uid""#]],
    );
    let mappings = json!({
        "username": {"claim": "sub"}, "groups": {"expression": "claims.groups", "prefix": "g:"}, "uid": {"claim": "a", "expression": "claims.b"},
        "extra": [{"key": "Foo", "valueExpression": "''"}, {"key": "a.k8s.io/b", "valueExpression": "''"}, {"key": "a.b/c"}, {"key": "a.b/c"}],
    });
    refused(
        with(mappings, json!({})),
        expect![[r#"
        jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing
        jwt[0].claimMappings.groups.prefix: Invalid value: "g:": may not be specified when expression is set
        jwt[0].claimMappings.uid: Invalid value: "": claim and expression can't both be set
        jwt[0].claimMappings.extra[0].key: Invalid value: "Foo": must be a domain-prefixed path (such as "acme.io/foo")
        jwt[0].claimMappings.extra[0].key: Invalid value: "Foo": must be lowercase
        jwt[0].claimMappings.extra[1].key: Invalid value: "a.k8s.io/b": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use
        jwt[0].claimMappings.extra[2].valueExpression: Required value
        jwt[0].claimMappings.extra[3].key: Duplicate value: "a.b/c""#]],
    );
    let email = json!({"username": {"expression": "claims.email"}});
    refused(
        with(email.clone(), json!({})),
        expect![[
            r#"jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"#
        ]],
    );
    let verified = json!({"claimValidationRules": [{"expression": "claims.email_verified == true"}]});
    assert!(decode(with(email, verified)).is_ok());
}

#[test]
fn anonymous_requests_may_be_limited_to_paths() {
    let decode = |anonymous: Value| {
        let value = json!({"apiVersion": VERSIONS[0], "kind": KIND, "anonymous": anonymous});
        AuthenticationConfiguration::decode(&value, &[], &|_| Ok(()))
    };
    let limited =
        decode(json!({"enabled": true, "conditions": [{"path": "/livez"}]})).unwrap().anonymous.unwrap();
    assert!(limited.allows("/livez") && !limited.allows("/healthz"));
    assert!(!decode(json!({"enabled": false})).unwrap().anonymous.unwrap().allows("/livez"));
    assert!(Anonymous::default().allows("/healthz"));
    let wrong = decode(json!({"enabled": false, "conditions": [{"path": "/livez"}]})).unwrap_err();
    expect![[r#"anonymous.conditions: Invalid value: ["/livez"]: enabled should be set to true when conditions are defined"#]].assert_eq(&wrong.to_string());
}
