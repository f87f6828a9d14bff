//! Audit policies by example.

use super::*;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:kube-scheduler"]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: Metadata
  resources: [{group: "", resources: ["secrets", "pods/exec"]}]
- level: RequestResponse
  verbs: [create, delete]
  userGroups: ["system:masters"]
  namespaces: ["prod"]
  resources: [{group: "apps"}, {group: "", resources: ["*/scale", "services/*"], resourceNames: ["web"]}]
  omitStages: [ResponseStarted]
  omitManagedFields: true
- level: Request
  verbs: [patch]
"#;

fn verdict(user: &str, groups: &[&str], verb: &str, path: &str) -> PolicyDecision {
    let policy = Policy::parse(POLICY.as_bytes()).unwrap();
    let user = User::component(user, groups);
    let Some((group, rest)) = path.split_once(':') else {
        return policy.verdict(&user, &AccessRequest::path(verb, path));
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let text = |i: usize| parts.get(i).copied().unwrap_or("");
    let resource = RequestedResource {
        group,
        namespace: text(0),
        resource: text(1),
        name: text(2),
        subresource: text(3),
        fields: &[],
    };
    policy.verdict(&user, &AccessRequest::resource(verb, resource))
}

#[test]
fn the_first_matching_rule_applies() {
    let level = |user: &str, groups: &[&str], verb: &str, path: &str| verdict(user, groups, verb, path).level;
    assert_eq!(level("system:kube-scheduler", &[], "patch", ":prod/secrets/a"), Level::None);
    assert_eq!(level("a", &[], "get", "/healthz/ping"), Level::None);
    assert_eq!(level("a", &[], "get", ":prod/secrets/a"), Level::Metadata);
    assert_eq!(level("a", &[], "create", ":prod/pods/a/exec"), Level::Metadata);
    assert_eq!(level("a", &[], "create", ":prod/pods/a"), Level::None, "no rule matches");
    assert_eq!(level("a", &["system:masters"], "create", "apps:prod/deployments/a"), Level::RequestResponse);
    assert_eq!(level("a", &["system:masters"], "create", "apps:dev/deployments/a"), Level::None);
    assert_eq!(
        level("a", &["system:masters"], "delete", ":prod/services/web/status"),
        Level::RequestResponse
    );
    assert_eq!(level("a", &["system:masters"], "delete", ":prod/services/other/status"), Level::None);
    assert_eq!(level("a", &[], "patch", "/anything"), Level::Request);
}

#[test]
fn stages_and_managed_fields_can_be_omitted() {
    let verdict = verdict("a", &["system:masters"], "create", "apps:prod/deployments/a");
    assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
    assert!(verdict.omit_managed_fields);
}

#[test]
fn an_invalid_policy_is_rejected_with_a_reason() {
    let check = |text: &str| {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        Policy::parse(format!("{head}{text}").as_bytes()).map(drop).unwrap_err()
    };
    assert_eq!(check("rules: []"), "the policy has no rules");
    assert!(check("rules: [{level: All}]").contains("unknown variant `All`"));
    assert!(check("rules: [{level: None, user: [a]}]").contains("unknown field `user`"));
    let both = check("rules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]");
    assert_eq!(both, "rules[0]: rules cannot apply to both regular resources and non-resource URLs");
    assert!(check("rules: [{level: None, nonResourceURLs: [x]}]").contains("must begin with a '/'"));
    let names = check("rules: [{level: None, resources: [{group: '', resourceNames: [a]}]}]");
    assert!(names.contains("need at least one resource"));
    let kind = Policy::parse(b"apiVersion: v1\nkind: Pod\nrules: []").map(drop).unwrap_err();
    assert_eq!(kind, "expected Policy of audit.k8s.io/v1, found Pod of v1");
}
