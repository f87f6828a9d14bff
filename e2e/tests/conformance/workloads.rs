//! Jobs, CronJobs, ReplicationControllers and PodDisruptionBudgets, as far as no container must run.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{
    Test,
    client::{Api, Patch, name, path, version},
    kinds::pod_spec,
};

pub const TESTS: &[Test] = &[
    ("suspended_cron_job_starts_nothing", suspended_cron_job_starts_nothing),
    ("job_lifecycle", job_lifecycle),
    ("failure_condition_of_a_replication_controller", failure_condition_of_a_replication_controller),
    ("disruption_budgets_of_all_namespaces", disruption_budgets_of_all_namespaces),
    ("disruption_budget_is_changed", disruption_budget_is_changed),
    ("disruption_budget_counts_pods", disruption_budget_counts_pods),
];

fn suspended_cron_job_starts_nothing(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("cron")?;
    let spec = json!({
        "schedule": "* * * * *", "suspend": true,
        "jobTemplate": {"spec": {"template": {"spec": pod_spec()}}},
    });
    let jobs = namespace.path("batch/v1", "jobs");
    let watch = api.watch(&jobs)?;
    api.create(
        &namespace.path("batch/v1", "cronjobs"),
        &json!({"metadata": {"name": "still"}, "spec": spec}),
    )?
    .with(201)?;
    // A minute begins meanwhile; a started CronJob would have made its Job within seconds of it.
    watch.nothing_for(Duration::from_secs(65))?;
    let cron = api.get(&format!("{}/still", namespace.path("batch/v1", "cronjobs")))?.ok()?;
    ensure!(cron["status"]["active"].is_null(), "{cron}");
    Ok(())
}

fn job_lifecycle(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("job")?;
    let jobs = namespace.path("batch/v1", "jobs");
    let (one, selected) = (format!("{jobs}/one"), format!("{jobs}?labelSelector=patched%3Dyes"));
    let mut spec = pod_spec();
    // The test ends the Pods itself.
    spec["nodeSelector"] = json!({"example.com/nowhere": "true"});
    let spec = json!({"suspend": true, "completions": 2, "parallelism": 2, "template": {"spec": spec}});
    let watch = api.watch(&jobs)?;
    api.create(&jobs, &json!({"metadata": {"name": "one"}, "spec": spec}))?.with(201)?;
    watch.expect("ADDED")?;
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}});
    api.patch(&one, Patch::Strategic, &patch)?.ok()?;
    watch.until("MODIFIED", |job| job["metadata"]["labels"]["patched"] == "yes")?;
    api.wait(&one, "the job to be suspended", |job| has_condition(job, "Suspended"))?;
    let pods = namespace.path("v1", "pods");
    ensure!(api.list(&pods)?.is_empty(), "a suspended Job has Pods");
    api.change(&one, |job| {
        job["spec"]["suspend"] = json!(false);
        job["metadata"]["annotations"]["updated"] = json!("yes");
    })?;
    watch.until("MODIFIED", |job| job["metadata"]["annotations"]["updated"] == "yes")?;
    ensure!(api.list(&selected)?.len() == 1, "not listed");
    let running =
        api.wait(&pods, "both Pods", |list| list["items"].as_array().is_some_and(|all| all.len() == 2))?;
    for pod in running["items"].as_array().into_iter().flatten() {
        let status = json!({"status": {"phase": "Succeeded"}});
        api.merge(&format!("{pods}/{}/status", name(pod)), &status)?;
    }
    let done = api.wait(&one, "the job to complete", |job| has_condition(job, "Complete"))?;
    ensure!(done["status"]["succeeded"] == 2, "{done}");
    api.delete_with(&selected, &json!({"propagationPolicy": "Background"}))?.ok()?;
    watch.until("DELETED", |job| name(job) == "one")?;
    ensure!(api.list(&selected)?.is_empty(), "still listed");
    Ok(())
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn failure_condition_of_a_replication_controller(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("rc")?;
    let quotas = namespace.path("v1", "resourcequotas");
    let two = json!({"metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}});
    api.create(&quotas, &two)?.with(201)?;
    api.wait(&format!("{quotas}/two"), "the quota to be counted", |quota| {
        quota["status"]["hard"]["pods"] == "2"
    })?;
    let mut spec = pod_spec();
    spec["restartPolicy"] = json!("Always");
    let template = json!({"metadata": {"labels": {"app": "three"}}, "spec": spec});
    let controllers = namespace.path("v1", "replicationcontrollers");
    let three = json!({"metadata": {"name": "three"}, "spec": {"replicas": 3, "selector": {"app": "three"}, "template": template}});
    api.create(&controllers, &three)?.with(201)?;
    let one = format!("{controllers}/three");
    let failing = |controller: &Value| has_condition(controller, "ReplicaFailure");
    let failed = api.wait(&one, "the failure condition", failing)?;
    let message = failed["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("exceeded quota: two"), "{failed}");
    api.change(&one, |controller| controller["spec"]["replicas"] = json!(2))?;
    api.wait(&one, "no failure condition", |controller| {
        !failing(controller)
            && controller["status"]["observedGeneration"] == controller["metadata"]["generation"]
    })
    .map(drop)
}

fn budget(name: &str, label: &str, least: Value) -> Value {
    let spec = json!({"minAvailable": least, "selector": {"matchLabels": {"app": "guarded"}}});
    json!({"metadata": {"name": name, "labels": {"budgets": label}}, "spec": spec})
}

fn disruption_budgets_of_all_namespaces(api: &Api) -> anyhow::Result<()> {
    let (first, second) = (api.namespace("budget")?, api.namespace("budget")?);
    let [inside, outside] =
        [&first, &second].map(|namespace| namespace.path("policy/v1", "poddisruptionbudgets"));
    for (collection, name) in [(&inside, "one"), (&inside, "two"), (&outside, "three")] {
        api.create(collection, &budget(name, &first.name, json!("1%")))?.with(201)?;
    }
    let selector = format!("labelSelector=budgets%3D{}", first.name);
    let everywhere = format!("{}?{selector}", path("policy/v1", "", "poddisruptionbudgets"));
    ensure!(api.list(&everywhere)?.len() == 3, "all namespaces");
    let selected = format!("{inside}?{selector}");
    ensure!(api.list(&selected)?.len() == 2, "one namespace");
    api.delete(&selected)?.ok()?;
    ensure!(api.list(&selected)?.is_empty(), "some are left");
    ensure!(api.list(&everywhere)?.len() == 1, "the other namespace");
    Ok(())
}

fn disruption_budget_is_changed(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("budget")?;
    let budgets = namespace.path("policy/v1", "poddisruptionbudgets");
    let one = format!("{budgets}/one");
    api.create(&budgets, &budget("one", "changed", json!("1%")))?.with(201)?;
    let observed =
        |budget: &Value| budget["status"]["observedGeneration"] == budget["metadata"]["generation"];
    api.wait(&one, "its status", observed)?;
    let updated = api.change(&one, |budget| budget["spec"]["minAvailable"] = json!("2%"))?;
    ensure!(updated["spec"]["minAvailable"] == "2%", "{updated}");
    api.wait(&one, "its status", observed)?;
    let patched = api.merge(&one, &json!({"spec": {"minAvailable": "3%"}}))?;
    ensure!(patched["spec"]["minAvailable"] == "3%" && version(&patched) != version(&updated), "{patched}");
    api.wait(&one, "its status", observed)?;
    api.delete(&one)?.ok()?;
    api.get(&one)?.refused(404, &["not found"]).map(drop)
}

fn disruption_budget_counts_pods(api: &Api) -> anyhow::Result<()> {
    let namespace = api.namespace("budget")?;
    let budgets = namespace.path("policy/v1", "poddisruptionbudgets");
    api.create(&budgets, &budget("one", "counts", json!(1)))?.with(201)?;
    let pods = namespace.path("v1", "pods");
    for number in 0..3 {
        let metadata = json!({"name": format!("pod-{number}"), "labels": {"app": "guarded"}});
        api.create(&pods, &json!({"metadata": metadata, "spec": pod_spec()}))?.with(201)?;
    }
    let counted = api.wait(&format!("{budgets}/one"), "allowed disruptions", |budget| {
        budget["status"]["disruptionsAllowed"].as_u64() == Some(2)
    })?;
    counted["status"]["currentHealthy"]
        .as_u64()
        .filter(|healthy| *healthy == 3)
        .with_context(|| format!("{counted}"))?;
    Ok(())
}
