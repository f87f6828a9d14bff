//! Tokens of service accounts in Secrets: made by the controller, accepted by the authenticator, and noted when used.

use apiserver_shim::auth::authentication::{Authenticator, DEFAULT_AUDIENCE};
use apiserver_shim::server::secret_token_uses;
use serde_json::{Value, json};
use shim_core::secret_tokens::{ACCOUNT_NAME, INVALID_SINCE, LAST_USED, SECRET_TYPE};
use shim_model::{access, base64};

use crate::cluster::{Cluster, service_account_key};

fn token(cluster: &Cluster) -> Option<String> {
    let secrets = cluster.list("", "secrets");
    let encoded = access::text(secrets.first()?, &["data", "token"]);
    String::from_utf8(base64::decode(encoded)?).ok().filter(|token| !token.is_empty())
}

fn label(cluster: &Cluster, name: &str) -> String {
    let secrets = cluster.list("", "secrets");
    secrets.first().map_or("", |secret| access::text(secret, &["metadata", "labels", name])).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_secret_works_until_its_account_is_deleted() {
    let cluster = Cluster::start(0).await;
    let authenticator =
        Authenticator::new(cluster.registry().clone(), service_account_key(), DEFAULT_AUDIENCE).unwrap();
    let (authenticator, uses) = authenticator.reporting_uses();
    let noting = tokio::spawn(secret_token_uses::note(uses, cluster.pipeline.clone()));
    let named = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
    cluster.create("", "serviceaccounts", "ns", named("ServiceAccount", "sa")).await;
    let mut secret = named("Secret", "tok");
    secret["metadata"]["annotations"] = json!({ACCOUNT_NAME: "sa"});
    secret["type"] = json!(SECRET_TYPE);
    cluster.create("", "secrets", "ns", secret).await;
    cluster.until("the Secret has a token", |cluster| token(cluster).is_some()).await;
    let token = token(&cluster).unwrap();

    let (user, audiences) = authenticator.check_token(&token, &[]).await.unwrap();
    assert_eq!((user.name.as_str(), user.extra.len()), ("system:serviceaccount:ns:sa", 0));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    assert_eq!(audiences, [DEFAULT_AUDIENCE]);
    let elsewhere = authenticator.check_token(&token, &["vault".to_owned()]).await;
    assert_eq!(elsewhere.unwrap_err(), "the token is not for these audiences");
    cluster.until("the use is noted", |cluster| label(cluster, LAST_USED).len() == 10).await;

    let (claims, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{claims}.{first}{}", &signature[1..]);
    assert!(authenticator.check_token(&forged, &[]).await.is_err());
    cluster
        .edit("", "secrets", "tok", |secret: &mut Value| {
            secret["metadata"]["labels"][INVALID_SINCE] = json!("2026-01-01");
        })
        .await;
    cluster.until("the mark is seen", |cluster| !label(cluster, INVALID_SINCE).is_empty()).await;
    let why = authenticator.check_token(&token, &[]).await.unwrap_err();
    assert!(why.contains("has been marked invalid"), "{why}");

    cluster.delete("", "serviceaccounts", "ns", "sa").await;
    cluster.until("the Secret goes", |cluster| cluster.list("", "secrets").is_empty()).await;
    let why = authenticator.check_token(&token, &[]).await.unwrap_err();
    assert_eq!(why, "[invalid bearer token, Token has been invalidated]");
    drop(authenticator);
    noting.await.unwrap();
}
