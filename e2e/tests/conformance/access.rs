//! Who may do what: reviews, certificate requests, ServiceAccounts and their tokens.

use anyhow::{Context, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use http::Method;
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Patch, path, version},
    operations::resource,
};

pub const TESTS: &[Test] = &[
    ("reviews_agree_with_requests", reviews_agree_with_requests),
    ("certificate_signing_requests", certificate_signing_requests),
    ("token_of_a_service_account", token_of_a_service_account),
    ("root_certificates_in_every_namespace", root_certificates_in_every_namespace),
    ("service_account_lifecycle", service_account_lifecycle),
    ("service_account_is_updated", service_account_is_updated),
];

const AUTHORIZATION: &str = "authorization.k8s.io/v1";
const CERTIFICATES: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn reviews_agree_with_requests(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("review")?;
    let accounts = namespace.path("v1", "serviceaccounts");
    let account = api.create(&accounts, &json!({"metadata": {"name": "reviewed"}}))?.with(201)?;
    let uid = account["metadata"]["uid"].as_str().context("uid")?;
    let user = format!("system:serviceaccount:{}:reviewed", namespace.name);
    let of_namespace = format!("system:serviceaccounts:{}", namespace.name);
    let groups = ["system:authenticated", "system:serviceaccounts", of_namespace.as_str()];
    let agree = |expected: bool| -> anyhow::Result<()> {
        let spec = json!({
            "user": user, "groups": groups, "uid": uid,
            "resourceAttributes": {"verb": "list", "resource": "configmaps", "version": "v1", "namespace": namespace.name},
        });
        let reviews = [
            path(AUTHORIZATION, "", "subjectaccessreviews"),
            path(AUTHORIZATION, &namespace.name, "localsubjectaccessreviews"),
        ];
        for review in reviews {
            let object = json!({"metadata": {"namespace": namespace.name}, "spec": spec});
            let object = if review.contains("local") { object } else { json!({"spec": spec}) };
            let answer = api.create(&review, &object)?.with(201)?;
            ensure!(answer["status"]["allowed"] == expected, "{review}: {answer}");
        }
        let mut headers = vec![("impersonate-user", user.as_str()), ("impersonate-uid", uid)];
        headers.extend(groups.iter().map(|group| ("impersonate-group", *group)));
        let list = api.call(Method::GET, &namespace.path("v1", "configmaps"), &headers, "")?;
        ensure!(list.code == if expected { 200 } else { 403 }, "{list:?}");
        Ok(())
    };
    agree(false)?;
    let role = json!({"metadata": {"name": "lists"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    api.create(&namespace.path("rbac.authorization.k8s.io/v1", "roles"), &role)?.with(201)?;
    let binding = json!({
        "metadata": {"name": "lists"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lists"},
        "subjects": [{"kind": "ServiceAccount", "name": "reviewed", "namespace": namespace.name}],
    });
    api.create(&namespace.path("rbac.authorization.k8s.io/v1", "rolebindings"), &binding)?.with(201)?;
    agree(true)
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Test", "message": "set by a test"})
}

fn certificate_signing_requests(api: &Api) -> anyhow::Result<()> {
    for name in ["", "/approval", "/status"] {
        resource(api, "certificates.k8s.io/v1", &format!("certificatesigningrequests{name}"))?;
    }
    let key = rcgen::KeyPair::generate()?;
    let request =
        rcgen::CertificateParams::new(vec!["test.example.com".to_owned()])?.serialize_request(&key)?;
    let signed = rcgen::CertificateParams::new(vec!["test.example.com".to_owned()])?.self_signed(&key)?;
    let (request, certificate) =
        (BASE64_STANDARD.encode(request.pem()?), BASE64_STANDARD.encode(signed.pem()));
    let selected = format!("{CERTIFICATES}?fieldSelector=spec.signerName%3Dexample.com%2Fconformance");
    let watch = api.watch(&selected)?;
    let object = json!({"metadata": {"generateName": "conformance-"}, "spec": {
        "request": request, "signerName": "example.com/conformance", "expirationSeconds": 3600,
        "usages": ["digital signature", "key encipherment", "server auth"],
    }});
    let mut one = String::new();
    for _ in 0..3 {
        let created = api.create(CERTIFICATES, &object)?.with(201)?;
        one = format!("{CERTIFICATES}/{}", crate::client::name(&created));
        watch.expect("ADDED")?;
    }
    let read = api.get(&one)?.ok()?;
    ensure!(read["spec"]["expirationSeconds"] == 3600 && read["spec"]["username"].is_string(), "{read}");
    ensure!(api.list(&selected)?.len() == 3, "the field selector");
    let annotation = |name: &str| json!({"metadata": {"annotations": {name: "yes"}}});
    let patched = api.merge(&one, &annotation("patched"))?;
    ensure!(patched["metadata"]["annotations"]["patched"] == "yes", "{patched}");
    let updated = api.change(&one, |request| request["metadata"]["annotations"]["updated"] = json!("yes"))?;
    ensure!(updated["metadata"]["annotations"]["updated"] == "yes", "{updated}");
    for name in ["patched", "updated"] {
        watch.until("MODIFIED", |request| request["metadata"]["annotations"][name] == "yes")?;
    }
    approves(api, &format!("{one}/approval"))?;
    issues(api, &format!("{one}/status"), &certificate)?;
    api.delete(&one)?.ok()?;
    api.get(&one)?.refused(404, &["not found"])?;
    ensure!(api.list(&selected)?.len() == 2, "after a deletion");
    api.delete(&selected)?.ok()?;
    ensure!(api.list(&selected)?.is_empty(), "after a deletion of the collection");
    Ok(())
}

fn approves(api: &Api, approval: &str) -> anyhow::Result<()> {
    let read = api.get(approval)?.ok()?;
    ensure!(read["kind"] == "CertificateSigningRequest", "{read}");
    let patch = json!({"metadata": {"annotations": {"approved": "patch"}}, "status": {"conditions": [condition("Seen")]}});
    let patched = api.merge(approval, &patch)?;
    ensure!(patched["status"]["conditions"][0]["type"] == "Seen", "{patched}");
    ensure!(patched["metadata"]["annotations"]["approved"] == "patch", "{patched}");
    let updated = api.change(approval, |request| {
        request["status"]["conditions"] = json!([condition("Seen"), condition("Approved")]);
    })?;
    ensure!(updated["status"]["conditions"][1]["type"] == "Approved", "{updated}");
    Ok(())
}

fn issues(api: &Api, status: &str, certificate: &str) -> anyhow::Result<()> {
    let read = api.get(status)?.ok()?;
    ensure!(read["kind"] == "CertificateSigningRequest", "{read}");
    let patch =
        json!({"metadata": {"annotations": {"issued": "yes"}}, "status": {"certificate": certificate}});
    let patched = api.merge(status, &patch)?;
    ensure!(patched["status"]["certificate"] == certificate, "{patched}");
    let updated = api.change(status, |request| {
        if let Some(conditions) = request["status"]["conditions"].as_array_mut() {
            conditions.push(condition("Checked"));
        }
    })?;
    ensure!(updated["status"]["conditions"][2]["type"] == "Checked", "{updated}");
    Ok(())
}

fn token_of_a_service_account(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("token")?;
    let accounts = namespace.path("v1", "serviceaccounts");
    api.create(&accounts, &json!({"metadata": {"name": "one"}}))?.with(201)?;
    let issued = api.create(&format!("{accounts}/one/token"), &json!({"spec": {}}))?.with(201)?;
    let token = issued["status"]["token"].as_str().filter(|token| !token.is_empty()).context("no token")?;
    let review = json!({"spec": {"token": token}});
    let reviewed = api.create("/apis/authentication.k8s.io/v1/tokenreviews", &review)?.with(201)?;
    let status = &reviewed["status"];
    ensure!(status["authenticated"] == true && status["error"].is_null(), "{reviewed}");
    let user = format!("system:serviceaccount:{}:one", namespace.name);
    ensure!(status["user"]["username"] == user, "{reviewed}");
    Ok(())
}

fn root_certificates_in_every_namespace(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("roots")?;
    let maps = namespace.path("v1", "configmaps");
    let one = format!("{maps}/kube-root-ca.crt");
    let is_there = || {
        api.wait(&maps, "the certificates", |list| {
            let mut items = list["items"].as_array().into_iter().flatten();
            items.any(|map| crate::client::name(map) == "kube-root-ca.crt")
        })
    };
    is_there()?;
    let before = api.get(&one)?.ok()?;
    let certificates = before["data"]["ca.crt"].as_str().unwrap_or_default();
    ensure!(certificates.contains("BEGIN CERTIFICATE"), "{before}");
    api.delete(&one)?.ok()?;
    is_there()?;
    api.patch(&one, Patch::Json, &json!([{"op": "replace", "path": "/data", "value": {"ca.crt": ""}}]))?
        .ok()?;
    api.wait(&one, "the certificates to be restored", |map| map["data"] == before["data"]).map(drop)
}

fn service_account_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("account")?;
    let accounts = namespace.path("v1", "serviceaccounts");
    let label = json!({"accounts": namespace.name});
    let selector = format!("labelSelector=accounts%3D{}", namespace.name);
    let watch = api.watch(&format!("{accounts}?{selector}"))?;
    let created = api.create(&accounts, &json!({"metadata": {"name": "one", "labels": label}}))?.with(201)?;
    watch.expect("ADDED")?;
    let patch = json!({"automountServiceAccountToken": false});
    let patched = api.patch(&format!("{accounts}/one"), Patch::Strategic, &patch)?.ok()?;
    ensure!(version(&patched) != version(&created), "{patched}");
    let seen = watch.expect("MODIFIED")?;
    ensure!(seen["automountServiceAccountToken"] == false, "{seen}");
    let everywhere = format!("{}?{selector}", path("v1", "", "serviceaccounts"));
    let all = api.list(&everywhere)?;
    ensure!(all.len() == 1 && all[0]["automountServiceAccountToken"] == false, "{all:?}");
    api.delete(&format!("{accounts}?{selector}"))?.ok()?;
    watch.expect("DELETED").map(drop)
}

fn service_account_is_updated(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("account")?;
    let accounts = namespace.path("v1", "serviceaccounts");
    api.create(&accounts, &json!({"metadata": {"name": "one"}, "automountServiceAccountToken": true}))?
        .with(201)?;
    let updated = api.change(&format!("{accounts}/one"), |account| {
        account["automountServiceAccountToken"] = json!(false)
    })?;
    ensure!(updated["automountServiceAccountToken"] == false, "{updated}");
    Ok(())
}
