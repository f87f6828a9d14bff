//! Tokens in Secrets: filled, kept, given up with their service account, and removed when nobody uses them.

use super::*;
use crate::controllers::Registration;
use crate::rows::rfc3339;
use crate::testing::TestCluster;

/// Its tokens say what they claim.
#[derive(Debug)]
struct PlainSigner;

impl SecretTokenSigner for PlainSigner {
    fn sign(&self, claims: &SecretTokenClaims) -> Option<String> {
        Some(format!("{} of {} {}", claims.secret, claims.subject, claims.account_uid))
    }
}

fn run(cluster: &mut TestCluster) {
    let tokens = TokensController { ca_pem: "certificate".to_owned(), signer: Arc::new(PlainSigner) };
    let all =
        [Registration::new(tokens), Registration::new(TokenTracking), Registration::new(UnusedTokenCleaner)];
    cluster.run(&all);
}

fn secret(name: &str, account: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns", "annotations": {ACCOUNT_NAME: account}},
        "type": SECRET_TYPE,
    })
}

fn account(secrets: &[&str]) -> Value {
    let listed: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"name": "sa", "namespace": "ns"}, "secrets": listed})
}

fn text(secret: &Value, key: &str) -> String {
    String::from_utf8(base64::decode(access::text(secret, &["data", key])).unwrap()).unwrap()
}

fn names(cluster: &TestCluster) -> Vec<&str> {
    cluster.all("secrets").into_iter().map(|secret| access::text(secret, &["metadata", "name"])).collect()
}

#[test]
fn secrets_are_filled_and_go_with_their_account() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(ACCOUNTS, account(&[]));
    cluster.add(SECRETS, secret("tok", "sa"));
    cluster.add(SECRETS, secret("lost", "nobody"));
    let mut stale = secret("stale", "sa");
    stale["metadata"]["annotations"][ACCOUNT_UID] = json!("of an earlier account");
    cluster.add(SECRETS, stale);
    let mut kept = secret("kept", "sa");
    kept["data"] = json!({"token": base64::encode(b"own"), "ca.crt": base64::encode(b"old"), "x": ""});
    cluster.add(SECRETS, kept);
    cluster.add(SECRETS, json!({"metadata": {"name": "plain", "namespace": "ns"}, "type": "Opaque"}));
    run(&mut cluster);
    assert_eq!(names(&cluster), ["kept", "plain", "tok"]);
    let filled = cluster.get("secrets", "tok");
    assert_eq!(text(filled, "token"), "tok of system:serviceaccount:ns:sa uid-0001");
    assert_eq!((text(filled, "namespace").as_str(), text(filled, "ca.crt").as_str()), ("ns", "certificate"));
    assert_eq!(annotation(filled, ACCOUNT_UID), "uid-0001");
    let kept = cluster.get("secrets", "kept");
    assert_eq!((text(kept, "token").as_str(), text(kept, "ca.crt").as_str()), ("own", "certificate"));

    // The account is made again: its tokens were for the other one.
    cluster.objects.retain(|(plural, _), _| plural != "serviceaccounts");
    cluster.add(ACCOUNTS, account(&[]));
    run(&mut cluster);
    assert_eq!(names(&cluster), ["plain"]);
}

#[test]
fn what_another_server_has_filled_stays() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(ACCOUNTS, account(&[]));
    let key = cluster.add(SECRETS, secret("tok", "sa"));
    let tokens = TokensController { ca_pem: "certificate".to_owned(), signer: Arc::new(PlainSigner) };
    let plan = cluster.reconcile(&tokens, &ObjectName { resource: SECRETS, key });
    cluster.objects.values_mut().filter(|object| object["type"] == SECRET_TYPE).for_each(|object| {
        object["data"] = json!({"token": base64::encode(b"of the other server")});
    });
    cluster.apply(&plan);
    assert_eq!(text(cluster.get("secrets", "tok"), "token"), "of the other server");
}

#[test]
fn a_deleted_secret_leaves_the_list_of_its_account() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    let key = cluster.add(SECRETS, secret("tok", "sa"));
    cluster.objects.clear();
    cluster.add(ACCOUNTS, account(&["tok", "other"]));
    let tokens = TokensController { ca_pem: String::new(), signer: Arc::new(PlainSigner) };
    let plan = cluster.reconcile(&tokens, &ObjectName { resource: SECRETS, key });
    cluster.apply(&plan);
    assert_eq!(cluster.get("serviceaccounts", "sa")["secrets"], json!([{"name": "other"}]));
}

#[test]
fn the_start_of_tracking_is_kept() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(served("", "namespaces"), json!({"metadata": {"name": TRACKING.0}}));
    run(&mut cluster);
    let since = |cluster: &TestCluster| cluster.all("configmaps")[0]["data"].clone();
    assert_eq!(since(&cluster), json!({SINCE: "1970-01-01"}));
    cluster.now += 3 * DAY;
    run(&mut cluster);
    assert_eq!(since(&cluster), json!({SINCE: "1970-01-01"}));
    cluster
        .objects
        .values_mut()
        .filter(|o| o["kind"] == "ConfigMap")
        .for_each(|o| o["data"][SINCE] = json!("?"));
    run(&mut cluster);
    assert_eq!(since(&cluster), json!({SINCE: "1970-01-04"}));
}

/// Only tokens that an account lists are removed: marked after a year without use, deleted a year later.
#[test]
fn unused_tokens_of_old_clusters_go_in_two_steps() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(served("", "namespaces"), json!({"metadata": {"name": TRACKING.0}}));
    cluster.add(ACCOUNTS, account(&["unused", "used", "mounted"]));
    for name in ["unused", "used", "mounted", "own"] {
        cluster.add(SECRETS, secret(name, "sa"));
    }
    let volumes = json!([{"name": "v", "secret": {"secretName": "mounted"}}]);
    let pod =
        json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [], "volumes": volumes}});
    cluster.add(served("", "pods"), pod);
    run(&mut cluster);
    let marks = |cluster: &TestCluster| -> Vec<String> {
        let marked = |s: &&Value| !access::text(s, &["metadata", "labels", INVALID_SINCE]).is_empty();
        let name = |s: &Value| access::text(s, &["metadata", "name"]).to_owned();
        cluster.all("secrets").into_iter().filter(marked).map(name).collect()
    };
    cluster.now = UNUSED_MAX;
    run(&mut cluster);
    assert_eq!(marks(&cluster), [""; 0]);
    let used = cluster.objects.values_mut().find(|o| o["metadata"]["name"] == "used").unwrap();
    used["metadata"]["labels"] = json!({LAST_USED: date(UNUSED_MAX)});
    cluster.now = UNUSED_MAX + 2 * DAY;
    run(&mut cluster);
    assert_eq!(marks(&cluster), ["unused"]);
    cluster.now += UNUSED_MAX - DAY;
    let used = cluster.objects.values_mut().find(|o| o["metadata"]["name"] == "used").unwrap();
    used["metadata"]["labels"] = json!({LAST_USED: rfc3339(cluster.now)[..10].to_owned()});
    run(&mut cluster);
    assert_eq!(names(&cluster), ["mounted", "own", "unused", "used"]);
    cluster.now += 3 * DAY;
    run(&mut cluster);
    assert_eq!(names(&cluster), ["mounted", "own", "used"]);
}
