//! Jobs, CronJobs and ReplicationControllers with the real kubectl, on real containers.

use std::time::Duration;

use e2e::{cluster::Cluster, program::wait_for};

#[test]
fn jobs_run_to_completion() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/jobs.yaml"])?;
    // First: its time to live passes while the other parts run.
    failures(&cluster)?;
    completions(&cluster)?;
    indexes(&cluster)?;
    suspension(&cluster)?;
    replication(&cluster)?;
    schedule(&cluster)?;
    cluster.stop_and_assert_clean()
}

fn status(cluster: &Cluster, job: &str, path: &str) -> anyhow::Result<String> {
    cluster.kubectl(&["get", "job", job, "-o", &format!("jsonpath={{.status.{path}}}")])
}

fn completions(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["wait", "--for=condition=complete", "job/three", "--timeout=90s"])?;
    let shown = cluster.kubectl(&["get", "job", "three"])?;
    assert!(shown.contains("Complete") && shown.contains("3/3"), "{shown}");
    let described = cluster.kubectl(&["describe", "job", "three"])?;
    for part in ["3 Succeeded", "Created pod: three-", "Completed", "Job completed"] {
        assert!(described.contains(part), "no '{part}' in:\n{described}");
    }
    let finalizers = "jsonpath={.items[*].metadata.finalizers}";
    assert_eq!(cluster.kubectl(&["get", "pods", "-l", "job-name=three", "-o", finalizers])?, "");
    assert_eq!(cluster.kubectl(&["logs", "job/three"])?, "done\n");
    Ok(())
}

fn indexes(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["wait", "--for=condition=complete", "job/indexed", "--timeout=90s"])?;
    assert_eq!(status(cluster, "indexed", "completedIndexes")?, "0-2");
    let selector = "batch.kubernetes.io/job-completion-index=2,job-name=indexed";
    assert_eq!(cluster.kubectl(&["logs", "-l", selector])?, "2 on indexed-2\n");
    Ok(())
}

fn failures(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["wait", "--for=condition=failed", "job/failing", "--timeout=90s"])?;
    assert_eq!(status(cluster, "failing", "conditions[?(@.type=='Failed')].reason")?, "BackoffLimitExceeded");
    let events = cluster.kubectl(&["events", "--for", "job/failing"])?;
    assert!(events.contains("Job has reached the specified backoff limit"), "{events}");
    Ok(())
}

fn suspension(cluster: &Cluster) -> anyhow::Result<()> {
    let image = "--image=localhost/catamaran/example-web:1";
    cluster.kubectl(&["create", "job", "long", image, "--", "sleep", "600"])?;
    let active = |count: &str| {
        let what = format!("active pods: '{count}'");
        wait_for(&what, Duration::from_secs(60), || {
            Ok((status(cluster, "long", "ready")? == count).then_some(()))
        })
    };
    active("1")?;
    cluster.kubectl(&["patch", "job", "long", "-p", r#"{"spec":{"suspend":true}}"#])?;
    cluster.kubectl(&["wait", "--for=condition=Suspended", "job/long", "--timeout=60s"])?;
    active("0")?;
    cluster.kubectl(&["patch", "job", "long", "-p", r#"{"spec":{"suspend":false}}"#])?;
    active("1")?;
    cluster.kubectl(&["delete", "job", "long", "--timeout=90s"])?;
    wait_for("its pods to go", Duration::from_secs(60), || {
        let pods = cluster.kubectl(&["get", "pods", "-l", "job-name=long", "-o", "name"])?;
        Ok(pods.is_empty().then_some(()))
    })?;
    Ok(())
}

fn replication(cluster: &Cluster) -> anyhow::Result<()> {
    let manifest = cluster.directory().join("rc.yaml");
    std::fs::write(
        &manifest,
        "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: rc}\nspec:\n  replicas: 2\n  template:\n    \
         metadata: {labels: {app: rc}}\n    spec:\n      containers: [{name: c, image: localhost/catamaran/example-web:1}]\n",
    )?;
    cluster.kubectl(&["apply", "-f", &manifest.display().to_string()])?;
    let ready = "--for=jsonpath={.status.readyReplicas}=2";
    cluster.kubectl(&["wait", ready, "rc/rc", "--timeout=60s"])?;
    cluster.kubectl(&["scale", "rc/rc", "--replicas=1"])?;
    cluster.kubectl(&["wait", "--for=jsonpath={.status.replicas}=1", "rc/rc", "--timeout=60s"])?;
    cluster.kubectl(&["delete", "rc", "rc"])?;
    Ok(())
}

fn schedule(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["create", "job", "--from=cronjob/minutely", "by-hand"])?;
    cluster.kubectl(&["wait", "--for=condition=complete", "job/by-hand", "--timeout=60s"])?;
    let successful = "--for=jsonpath={.status.lastSuccessfulTime}";
    cluster.kubectl(&["wait", successful, "cronjob/minutely", "--timeout=60s"])?;
    wait_for("a job of the schedule", Duration::from_secs(90), || {
        let jobs = cluster.kubectl(&["get", "jobs", "-o", "name"])?;
        Ok(jobs.contains("job.batch/minutely-").then_some(()))
    })?;
    let described = cluster.kubectl(&["describe", "cronjob", "minutely"])?;
    for part in ["Created job minutely-", "Last Schedule Time", "Concurrency Policy:"] {
        assert!(described.contains(part), "no '{part}' in:\n{described}");
    }
    cluster.kubectl(&["delete", "cronjob", "minutely"])?;
    wait_for("the time to live of the failed job", Duration::from_secs(60), || {
        Ok((!cluster.try_kubectl(&["get", "job", "failing"])?.status.success()).then_some(()))
    })
}
