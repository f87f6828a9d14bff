//! Unmodified PySpark on the Mesos API, through our `libmesos.so`.

use std::time::Duration;

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    program::wait_for,
    spark::{SparkJob, ZooKeeper, executors},
};
use zookeeper::session::Session;

/// Announces a master in ZooKeeper as Mesos' masters do, as long as the returned runtime lives.
fn announce(zookeeper: &ZooKeeper, master: &str) -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (host, port) = master.rsplit_once(':').context("an address has a port")?;
    let info = format!(r#"{{"address":{{"hostname":"{host}","ip":"{host}","port":{port}}},"port":{port}}}"#);
    let server = std::slice::from_ref(&zookeeper.address);
    // It listens before it serves.
    let mut session = wait_for("ZooKeeper to serve", Duration::from_secs(60), || {
        Ok(runtime.block_on(Session::connect(server, 0, None)).ok())
    })?;
    runtime.block_on(async {
        session.create_path("/mesos").await?;
        session.create_ephemeral_sequential("/mesos/json.info_", info.as_bytes()).await
    })?;
    // Keeps the session alive.
    runtime.spawn(async move {
        while session.children("/mesos").await.is_ok() && session.changed().await.is_ok() {}
    });
    Ok(runtime)
}

/// Two jobs at once, one of which finds its master in ZooKeeper, come to their right results although an executor is killed and
/// the master restarts; their end leaves no process.
#[test]
fn spark_jobs_outlive_an_executor_and_a_master() -> anyhow::Result<()> {
    let mut cluster = Cluster::split(&[])?;
    let zookeeper = ZooKeeper::start(cluster.directory())?;
    let runtime = announce(&zookeeper, &cluster.mesos)?;
    let by_zookeeper = format!("zk://{}/mesos", zookeeper.address);
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
    let left = wait_for("the executors to end", Duration::from_secs(30), || {
        Ok(executors(&cluster)?.is_empty().then_some(()))
    });
    left.with_context(|| cluster.tail())?;
    drop((runtime, zookeeper));
    cluster.stop_and_assert_clean()
}
