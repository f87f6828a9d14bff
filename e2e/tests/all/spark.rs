//! Unmodified PySpark on the Mesos API, through our `libmesos.so`.

use std::time::Duration;

use anyhow::Context;
use e2e::{
    cluster::Cluster,
    program::wait_for,
    spark::{SparkJob, ZooKeeper, executors},
};

/// Two jobs at once, one of which finds its master in ZooKeeper, come to their right results although an executor is killed and
/// the master restarts; their end leaves no process.
#[test]
fn spark_jobs_outlive_an_executor_and_a_master() -> anyhow::Result<()> {
    let zookeeper = ZooKeeper::start()?;
    let by_zookeeper = format!("zk://{}/mesos", zookeeper.address);
    let mut cluster = Cluster::split(&["--zk", &by_zookeeper])?;
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
    cluster.stop_and_assert_clean()
}
