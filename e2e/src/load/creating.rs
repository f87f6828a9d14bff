//! Creates Pods that no scheduler binds: the cost of a durable write, also with a policy in CEL.

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::measure::Meter;
use crate::target::{PodBatch, Target};

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Creates {
    /// Number of Pods
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Number of connections, each with one request at a time
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Validate each with a ValidatingAdmissionPolicy that is made for the load
    #[arg(long)]
    pub policy: bool,
}

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const POLICY: &str = "catamaran-bench";

impl Creates {
    /// Runs the load.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let batch = PodBatch::unscheduled(self.pods);
        let mut connection = target.connect().await?;
        if self.policy {
            make_policy(&mut connection, target).await?;
        }
        let meter = Meter::start(target.pids())?;
        let result = target.create_pods(&batch, self.connections, |_, _| {}).await;
        let spent = meter.stop()?;
        if self.policy {
            remove_policy(&mut connection).await?;
        }
        let latencies = result?;
        let (bench, operation) = match self.policy {
            true => ("policy", "durable Pod create through a policy in CEL"),
            false => ("creates", "durable Pod create"),
        };
        let mut line = spent.report(bench, operation, latencies.len());
        line.insert("connections".to_owned(), self.connections.into());
        latencies.report(&mut line);
        Ok(Value::Object(line))
    }
}

/// Makes a policy about all Pods, and waits until it refuses one that it should refuse.
async fn make_policy(connection: &mut Connection, target: &Target) -> anyhow::Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ]},
            "validations": [
                {"expression": "object.spec.containers.all(c, has(c.resources) && has(c.resources.requests))"},
                {"expression": "object.metadata.?labels['tier'].orValue('') != 'refused'"},
            ],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": POLICY},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"]},
    });
    connection.expect(Method::POST, POLICIES, Bytes::from(policy.to_string())).await?;
    connection.expect(Method::POST, BINDINGS, Bytes::from(binding.to_string())).await?;
    let refused = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "refused", "labels": {"tier": "refused"}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let (path, body) = (format!("{}?dryRun=All", target.pods()), Bytes::from(refused.to_string()));
    for _ in 0..100 {
        if connection.send(Method::POST, &path, body.clone()).await?.0 == StatusCode::UNPROCESSABLE_ENTITY {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the policy refuses nothing")
}

async fn remove_policy(connection: &mut Connection) -> anyhow::Result<()> {
    for path in [BINDINGS, POLICIES] {
        connection
            .expect(Method::DELETE, &format!("{path}/{POLICY}"), Bytes::new())
            .await
            .context("policy")?;
    }
    Ok(())
}
