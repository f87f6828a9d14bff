//! Lists a large number of Pods: all of them in both encodings, and with selectors that match none.

use anyhow::ensure;
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::connection::PROTOBUF;
use crate::measure::{Meter, rounded};
use crate::target::{PodBatch, Target};

/// Arguments of the load.
#[derive(Args, Clone)]
pub struct Large {
    /// Number of Pods to create first
    #[arg(long, default_value_t = 200_000)]
    pub pods: usize,
    /// Number of connections that create them
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Number of lists of each form
    #[arg(long, default_value_t = 5)]
    pub lists: usize,
}

/// One form of list, each with the name of its figure.
const FORMS: [(&str, &str, bool); 4] = [
    ("no_label_ms", "?labelSelector=tier%3Dabsent", false),
    ("no_field_ms", "?fieldSelector=spec.nodeName%3Dabsent", false),
    ("json_ms", "", false),
    ("protobuf_ms", "", true),
];

impl Large {
    /// Runs the load. Figures are milliseconds of server CPU for one list; without the server's processes, of wall time.
    pub async fn run(&self, target: &Target) -> anyhow::Result<Value> {
        let batch = PodBatch::unscheduled(self.pods);
        target.create_pods(&batch, self.connections, |_, _| {}).await?;
        let mut line = json!({ "bench": "large", "operation": "LIST", "pods": self.pods });
        for (figure, query, is_protobuf) in FORMS {
            let mut connection = target.connect().await?;
            if is_protobuf {
                connection.accept = PROTOBUF;
            }
            let path = format!("{}{query}", target.pods());
            // The first list of a form may prepare what later ones use; it is measured by itself.
            for (suffix, count) in [("_first", 1), ("", self.lists)] {
                let meter = Meter::start(target.pids())?;
                let mut bytes = 0;
                for _ in 0..count {
                    bytes += connection.expect(Method::GET, &path, Bytes::new()).await?.len();
                }
                let spent = meter.stop()?;
                ensure!(query.is_empty() == (bytes > self.pods * count), "{path}: {bytes} bytes");
                let time = spent.cpu.map_or(spent.wall, |cpu| cpu.total());
                let each = time.as_secs_f64() * 1e3 / count.max(1) as f64;
                line[format!("{figure}{suffix}")] = json!(rounded(each));
            }
        }
        Ok(line)
    }
}
