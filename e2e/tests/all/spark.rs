//! Unmodified PySpark on the Mesos API, through our `libmesos.so`.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    program::wait_for,
    spark::{SparkJob, ZooKeeper, executors, volumes},
    visitor::Visitor,
};

/// The web servers of the Deployment.
fn servers(cluster: &Cluster) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses = "jsonpath={.items[*].status.podIP}";
    let addresses = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", addresses])?;
    addresses.split_whitespace().map(|ip| Ok(format!("{ip}:8080").parse()?)).collect()
}

/// Two jobs at once, one of which finds its master in ZooKeeper, come to their right results although an executor is killed and
/// the master restarts; a Deployment on the same machine answers throughout; the jobs' end leaves no process.
#[test]
fn spark_jobs_outlive_an_executor_and_a_master() -> anyhow::Result<()> {
    let zookeeper = ZooKeeper::start()?;
    let by_zookeeper = format!("zk://{}/mesos", zookeeper.address);
    // More CPUs than the machine may have: neither Spark nor the Pods use theirs all the time.
    let agent = ["--example-images", "--resources", "cpus:4;mem:6000;disk:10000"];
    let mut cluster = Cluster::split_with(&["--zk", &by_zookeeper], &agent)?;
    cluster.kubectl(&["apply", "-f", "manifests/examples/web.yaml"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    let visitor = Visitor::start(servers(&cluster)?);
    let mut first = SparkJob::submit(&cluster, "first", &cluster.mesos, 12)?;
    let mut second = SparkJob::submit(&cluster, "second", &by_zookeeper, 12)?;
    first.wait_for_line("round 1")?;
    second.wait_for_line("round 1")?;
    let running = executors(&cluster)?;
    assert_eq!(running.len(), 2, "{running:?}");
    e2e::member::send(running[0], rustix::process::Signal::KILL);
    first.wait_for_line("round 3")?;
    second.wait_for_line("round 3")?;
    cluster.kill("server")?;
    cluster.start("server")?;
    first.wait()?;
    second.wait()?;
    for job in [&first, &second] {
        let log = job.log();
        assert!(log.contains("No connection to the master"), "{log}");
    }
    let answers = visitor.end()?;
    assert!(answers > 50, "the Deployment has answered {answers} times");
    let left = wait_for("the executors to end", Duration::from_secs(30), || {
        Ok(executors(&cluster)?.is_empty().then_some(()))
    });
    left.with_context(|| cluster.tail())?;
    cluster.stop_and_assert_clean()
}

/// The executor of a job runs in a container of an image, of either type.
#[test]
fn spark_executors_run_in_images() -> anyhow::Result<()> {
    let cluster =
        Cluster::split_with(&[], &["--example-images", "--resources", "cpus:4;mem:6000;disk:10000"])?;
    let mounts = format!("spark.mesos.executor.docker.volumes={}", volumes()?);
    for kind in ["docker", "mesos"] {
        let settings = [
            "spark.mesos.executor.docker.image=localhost/catamaran/example-web:1".to_owned(),
            format!("spark.mesos.containerizer={kind}"),
            mounts.clone(),
        ];
        let mut job = SparkJob::submit_with(&cluster, kind, &cluster.mesos, 2, &settings)?;
        job.wait_for_line("round 1")?;
        let tasks = cluster.operator(r#"{"type": "GET_TASKS"}"#)?;
        let container = &tasks["get_tasks"]["tasks"][0]["container"];
        assert_eq!(container["type"], kind.to_uppercase(), "{tasks:#}");
        assert_eq!(executors(&cluster)?, Vec::<u32>::new(), "none is a plain process in a sandbox");
        job.wait()?;
    }
    cluster.stop_and_assert_clean()
}

/// A job in Spark's fine-grained mode, whose executors are `MesosExecutorDriver`s of the Java library: each of Spark's tasks is a
/// task of the kernel. It comes to its right results although its agent is killed and starts again.
#[test]
fn spark_in_fine_grained_mode_outlives_its_agent() -> anyhow::Result<()> {
    let mut cluster = Cluster::split_with(&[], &["--resources", "cpus:4;mem:6000;disk:10000"])?;
    let library = e2e::cluster::binary().with_file_name("libmesos.so");
    let settings = [
        "spark.mesos.coarse=false".to_owned(),
        format!("spark.executorEnv.MESOS_NATIVE_JAVA_LIBRARY={}", library.display()),
    ];
    let mut job = SparkJob::submit_with(&cluster, "fine", &cluster.mesos, 12, &settings)?;
    job.wait_for_line("round 2")?;
    let tasks = cluster.operator(r#"{"type": "GET_TASKS"}"#)?;
    let completed = tasks["get_tasks"]["completed_tasks"].as_array().map_or(0, Vec::len);
    assert!(completed >= 12, "each task of Spark is one of the kernel: {tasks:#}");
    let before = executors(&cluster)?;
    assert_eq!(before.len(), 1, "{before:?}");
    cluster.kill("agent")?;
    cluster.start("agent")?;
    job.wait()?;
    let left = wait_for("the executors to end", Duration::from_secs(30), || {
        Ok(executors(&cluster)?.is_empty().then_some(()))
    });
    left.with_context(|| cluster.tail())?;
    cluster.stop_and_assert_clean()
}
