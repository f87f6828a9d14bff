//! The README's "Five minutes", with the real kubectl.

use std::time::Duration;

use e2e::{
    cluster::Cluster,
    program::{self, wait_for},
};

/// The README's steps on a running cluster.
pub fn walk(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    let said = cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    assert!(said.contains("successfully rolled out"), "{said}");
    pods_are_shown(cluster)?;
    talks(cluster)?;
    scales(cluster)?;
    rolls_out_and_back(cluster)?;
    explains_and_compares(cluster)?;
    deletes(cluster)
}

fn names(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let list = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "name"])?;
    Ok(list.lines().map(str::to_owned).collect())
}

fn pods_are_shown(cluster: &Cluster) -> anyhow::Result<()> {
    let wide = cluster.kubectl(&["get", "pods", "-o", "wide"])?;
    let mut lines = wide.lines();
    let head = lines.next().unwrap_or_default();
    let columns: Vec<&str> = head.split_whitespace().collect();
    let expected = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "NODE"];
    assert!(columns.starts_with(&expected), "{wide}");
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), 3, "{wide}");
    assert!(rows.iter().all(|row| row.contains("1/1") && row.contains("Running")), "{wide}");
    let pod = &names(cluster)?[0];
    // Events come after the status that they are about.
    for part in ["Started", "Scheduled", "localhost/catamaran/example-web:1", "Ready:          True"] {
        wait_for(&format!("'{part}' in the description"), Duration::from_secs(20), || {
            Ok(cluster.kubectl(&["describe", pod])?.contains(part).then_some(()))
        })?;
    }
    Ok(())
}

fn talks(cluster: &Cluster) -> anyhow::Result<()> {
    let pod = &names(cluster)?[0];
    let logs = wait_for("the first line of the log", Duration::from_secs(20), || {
        Ok(Some(cluster.kubectl(&["logs", pod])?).filter(|logs| !logs.is_empty()))
    })?;
    assert!(logs.starts_with("ahoy from web-"), "{logs}");
    let follow = cluster.kubectl_command(&["logs", "-f", "--tail=1", pod]);
    // `head` ends it after three lines.
    let followed = program::run(
        std::process::Command::new("bash")
            .args(["-c", "timeout 30 \"$@\" | head -n 3", "follow"])
            .arg(follow.get_program())
            .args(follow.get_args()),
        Duration::from_secs(40),
    )?;
    assert_eq!(followed.stdout.lines().count(), 3, "logs -f said: {followed:?}");
    let said = cluster.kubectl(&["exec", pod, "--", "sh", "-c", "cat /www/index.html; echo $GREETING"])?;
    assert_eq!(said, "<h1>Two APIs, one cluster</h1>\nahoy\n");
    let failed = cluster.try_kubectl(&["exec", pod, "--", "sh", "-c", "exit 3"])?;
    assert_eq!(failed.status.code(), Some(3), "{failed:?}");
    Ok(())
}

fn scales(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    wait_for("five pods", Duration::from_secs(30), || Ok((names(cluster)?.len() == 5).then_some(())))?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=2"])?;
    wait_for("two pods", Duration::from_secs(60), || Ok((names(cluster)?.len() == 2).then_some(())))
}

fn image(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])
}

fn rolls_out_and_back(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["set", "image", "deployment/web", "web=localhost/catamaran/example-web:2"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    assert_eq!(image(cluster)?, "localhost/catamaran/example-web:2");
    cluster.kubectl(&["rollout", "undo", "deployment/web"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    assert_eq!(image(cluster)?, "localhost/catamaran/example-web:1");
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"])?;
    assert!(history.lines().count() >= 4, "{history}");
    Ok(())
}

fn explains_and_compares(cluster: &Cluster) -> anyhow::Result<()> {
    let explained = cluster.kubectl(&["explain", "deployment.spec"])?;
    for part in ["GROUP:      apps", "KIND:       Deployment", "replicas\t<integer>", "DESCRIPTION:"] {
        assert!(explained.contains(part), "no '{part}' in:\n{explained}");
    }
    cluster.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    let same = cluster.try_kubectl(&["diff", "-f", "manifests/examples/web.yaml"])?;
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    let events = cluster.kubectl(&["get", "events"])?;
    assert!(events.contains("ScalingReplicaSet") && events.contains("Scheduled"), "{events}");
    Ok(())
}

/// Waits until no Pod is left.
pub fn pods_gone(cluster: &Cluster) -> anyhow::Result<()> {
    wait_for("the pods to be gone", Duration::from_secs(90), || {
        let left = cluster.kubectl(&["get", "pods", "-o", "name"])?;
        Ok(left.trim().is_empty().then_some(()))
    })
}

fn deletes(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["delete", "-f", "manifests/examples/web.yaml", "--timeout=60s"])?;
    wait_for("the pods to be gone", Duration::from_secs(60), || {
        let left = cluster.kubectl(&["get", "pods,rs,deploy,svc,cm", "-l", "app=web", "-o", "name"])?;
        Ok(left.trim().is_empty().then_some(()))
    })
}

#[test]
fn a_new_user_follows_the_readme() -> anyhow::Result<()> {
    let cluster = Cluster::up(&["--example-images"])?;
    walk(&cluster)?;
    cluster.stop_and_assert_clean()
}
