//! 10,000 random requests against the default roles and a few more, with the answers that a Kubernetes 1.36 API server gave to
//! the same SubjectAccessReviews (`matrix/answers.txt`, one bit a case, most significant first).
//!
//! Who changes a list below has to ask such a server again: `print_the_cases` prints the objects to create there and the
//! reviews to post. A server without kube-controller-manager does not aggregate roles; `rules` of the three aggregated ones
//! have to be written by hand there.

use serde_json::{Value, json};

use super::*;

const CASES: usize = 10_000;
const ANSWERS: &str = include_str!("matrix/answers.txt");

const ROLES: [&str; 10] = [
    "view",
    "edit",
    "admin",
    "cluster-admin",
    "system:node-proxier",
    "system:monitoring",
    "system:auth-delegator",
    "system:persistent-volume-provisioner",
    "system:kubelet-api-admin",
    "system:aggregate-to-view",
];

const VERBS: &str = "get list watch create update patch delete deletecollection get list watch create update patch delete proxy \
bind escalate impersonate approve sign attest use * made-up";

const NAMES: [&str; 9] = [
    "",
    "",
    "",
    "a",
    "b",
    "kube-root-ca.crt",
    "extension-apiserver-authentication",
    "kube-scheduler",
    "kubernetes.io/kubelet-serving",
];

const NAMESPACES: [&str; 5] = ["ns1", "ns1", "kube-system", "kube-public", ""];

const PATHS: &str = "/ /healthz /healthz/etcd /livez /readyz /version /version/ /metrics /api /api/v1 /apis /apis/apps /openapi/v3 \
/openapi /logs/a /logs /xyz /.well-known/openid-configuration /openid/v1/jwks * /debug/pprof /metrics/slis";

/// Objects beside the default ones.
fn extra_objects() -> Vec<Value> {
    let named =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let mut objects = vec![
        json!({"kind": "Role", "metadata": {"namespace": "ns1", "name": "names"}, "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "update"], "resourceNames": ["a", "b"]},
            {"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["*"]},
            {"apiGroups": ["apps"], "resources": ["deployments/*"], "verbs": ["patch"]},
        ]}),
        json!({"kind": "RoleBinding", "metadata": {"namespace": "ns1", "name": "names"},
            "roleRef": named("Role", "names"),
            "subjects": [{"kind": "ServiceAccount", "namespace": "ns1", "name": "robot"}, named("Group", "crew")]}),
        json!({"kind": "ClusterRole", "metadata": {"name": "urls"}, "rules": [
            {"nonResourceURLs": ["/metrics", "/logs/*", "/x*"], "verbs": ["get", "post"]},
        ]}),
        json!({"kind": "ClusterRoleBinding", "metadata": {"name": "urls"}, "roleRef": named("ClusterRole", "urls"),
            "subjects": [named("Group", "crew")]}),
    ];
    for role in ROLES {
        let name = role.replace(':', "-");
        objects.push(
            json!({"kind": "RoleBinding", "metadata": {"namespace": "ns1", "name": format!("local-{name}")},
            "roleRef": named("ClusterRole", role), "subjects": [named("User", &format!("local-{name}"))]}),
        );
        objects.push(json!({"kind": "ClusterRoleBinding", "metadata": {"name": format!("global-{name}")},
            "roleRef": named("ClusterRole", role), "subjects": [named("User", &format!("global-{name}"))]}));
    }
    objects
}

/// Users with their groups. Those of nodes are left to the tests of the node authorizer.
fn users() -> Vec<(String, Vec<String>)> {
    let mut users: Vec<(String, Vec<String>)> = [
        ("admin", "system:masters system:authenticated"),
        ("system:kube-scheduler", "system:authenticated"),
        ("system:kube-controller-manager", "system:authenticated"),
        ("system:kube-proxy", "system:authenticated"),
        ("system:node:n1", "system:authenticated"),
        ("system:anonymous", "system:unauthenticated"),
        ("joe", "system:authenticated"),
        ("joe", ""),
        ("jane", "crew system:authenticated"),
        ("boot", "system:bootstrappers system:authenticated"),
        ("mon", "system:monitoring system:authenticated"),
    ]
    .map(|(name, of)| (name.to_owned(), groups(of)))
    .into();
    let mut accounts = vec![("ns1".to_owned(), "robot".to_owned()), ("ns2".to_owned(), "robot".to_owned())];
    for each in bootstrap::defaults() {
        for subject in each.object["subjects"].as_array().into_iter().flatten() {
            if subject["kind"] == "ServiceAccount" {
                let of = |member: &str| subject[member].as_str().unwrap().to_owned();
                accounts.push((of("namespace"), of("name")));
            }
        }
    }
    users.extend(accounts.into_iter().map(|(namespace, name)| {
        let of = format!("system:serviceaccounts system:serviceaccounts:{namespace} system:authenticated");
        (format!("system:serviceaccount:{namespace}:{name}"), groups(&of))
    }));
    for role in ROLES {
        let name = role.replace(':', "-");
        users.push((format!("local-{name}"), groups("system:authenticated")));
        users.push((format!("global-{name}"), groups("system:authenticated")));
    }
    users
}

/// `group:resource/subresource` of all rules of the default roles, and some that no role names.
fn resources() -> Vec<String> {
    let mut resources: Vec<String> = [
        "*:*",
        "example.com:widgets",
        ":*",
        ":pods/made-up",
        ":services/proxy",
        ":nodes/proxy",
        "apps:deployments/status",
    ]
    .map(str::to_owned)
    .into();
    for each in bootstrap::defaults() {
        for rule in each.object["rules"].as_array().into_iter().flatten() {
            let texts = |member: &str| rule[member].as_array().cloned().unwrap_or_default();
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    resources.push(format!("{}:{}", group.as_str().unwrap(), resource.as_str().unwrap()));
                }
            }
        }
    }
    resources.sort();
    resources.dedup();
    resources
}

#[derive(Debug)]
struct Case {
    user: String,
    groups: Vec<String>,
    verb: &'static str,
    /// `group:resource/subresource`, or a path.
    what: String,
    namespace: &'static str,
    name: &'static str,
    is_path: bool,
}

/// A sequence of numbers that is the same everywhere (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

fn cases() -> Vec<Case> {
    let (users, resources) = (users(), resources());
    let verbs: Vec<&str> = VERBS.split_whitespace().collect();
    let paths: Vec<&str> = PATHS.split_whitespace().collect();
    let mut numbers = Numbers(1);
    let case = |_| {
        let (user, groups) = users[numbers.below(users.len())].clone();
        let is_path = numbers.below(12) == 0;
        let verb = if is_path {
            ["get", "post", "put", "*"][numbers.below(4)]
        } else {
            verbs[numbers.below(verbs.len())]
        };
        let what = if is_path {
            paths[numbers.below(paths.len())].to_owned()
        } else {
            resources[numbers.below(resources.len())].clone()
        };
        let (namespace, name) =
            (NAMESPACES[numbers.below(NAMESPACES.len())], NAMES[numbers.below(NAMES.len())]);
        Case { user, groups, verb, what, namespace, name, is_path }
    };
    (0..CASES).map(case).collect()
}

impl Case {
    fn request(&self) -> AccessRequest<'_> {
        if self.is_path {
            return AccessRequest::path(self.verb, &self.what);
        }
        request(self.verb, &self.what, self.namespace, self.name)
    }

    fn review(&self) -> Value {
        let mut spec = json!({"user": self.user, "groups": self.groups});
        match self.request().object {
            Requested::Path(path) => spec["nonResourceAttributes"] = json!({"verb": self.verb, "path": path}),
            Requested::Resource(of) => {
                spec["resourceAttributes"] = json!({"verb": self.verb, "group": of.group, "resource": of.resource,
                    "subresource": of.subresource, "namespace": of.namespace, "name": of.name});
            }
        }
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
    }
}

fn index() -> RbacIndex {
    let mut index = default_index();
    for object in extra_objects() {
        let of = |key: &str| object["metadata"][key].as_str().unwrap_or("");
        match object["kind"].as_str().unwrap() {
            "Role" | "ClusterRole" => {
                index.put_role(of("namespace"), of("name"), PolicyRule::all_of(&object))
            }
            _ => index.put_binding(Binding::of(&object)),
        }
    }
    index
}

#[test]
fn decisions_are_those_of_the_reference() {
    let index = index();
    let bits = ANSWERS.bytes().filter_map(|digit| (digit as char).to_digit(16));
    let expected: Vec<bool> =
        bits.flat_map(|four| (0..4).rev().map(move |bit| four >> bit & 1 == 1)).collect();
    assert_eq!(expected.len(), CASES);
    let mut allowed = 0;
    for (case, expected) in cases().iter().zip(expected) {
        let subject = Subject { name: &case.user, groups: &case.groups };
        assert_eq!(index.decide(&subject, &case.request()).is_ok(), expected, "{case:?}");
        allowed += usize::from(expected);
    }
    assert!((CASES / 20..CASES / 2).contains(&allowed), "{allowed} are allowed");
}

#[test]
#[ignore = "prints what to ask a reference server"]
fn print_the_cases() {
    for object in extra_objects() {
        println!("object {object}");
    }
    for case in cases() {
        println!("review {}", case.review());
    }
}
