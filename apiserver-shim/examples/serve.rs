//! Starts an API server with an in-memory store and without nodes, and writes a kubeconfig. Useful for trying
//! requests.
//!
//! `cargo run -p apiserver-shim --example serve -- [KUBECONFIG] [ADDRESS]`

use std::sync::Arc;
use std::time::SystemTime;

use apiserver_shim::pipeline::{Identity, ObjectRef, Pipeline};
use apiserver_shim::server::{ApiOptions, BuildInfo, start};
use apiserver_shim::storage::selection::Selection;
use apiserver_shim::storage::watch_cache::WatchFrom;
use serde_json::json;
use shim_core::controllers::served;
use shim_pki::{Pki, ServerNames, directory};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = arguments.next().unwrap_or_else(|| "kubeconfig".to_owned());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let data = tempfile::tempdir()?;
    let pki = Arc::new(Pki::open_or_create(data.path(), SystemTime::now())?);
    let options = ApiOptions {
        store: Arc::new(store::MemoryStore::new()),
        pki: pki.clone(),
        listen: address.parse()?,
        advertise: [127, 0, 0, 1].into(),
        names: ServerNames::default(),
        audit: None,
        admission: Default::default(),
        authentication: Default::default(),
        service_cidr: Default::default(),
        build: BuildInfo::default(),
        flags: Default::default(),
    };
    let server = start(options).await?;
    let admin = pki.authority.issue_admin(SystemTime::now())?;
    let url = format!("https://{}", server.local_addr());
    let rendered = shim_pki::kubeconfig::render(&url, pki.authority.certificate(), &admin);
    directory::merge_kubeconfig(kubeconfig.as_ref(), &rendered, None)?;
    println!("ready: kubectl --kubeconfig {kubeconfig} get namespaces");
    tokio::spawn(service_accounts(server.pipeline().clone()));
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}

/// Stands in for the ServiceAccount controller, because no controllers run here and Pods need an account.
async fn service_accounts(pipeline: Pipeline) {
    let kind = |plural| pipeline.registry().builtin(&served("", plural));
    let Ok(mut watch) =
        pipeline.registry().watch(kind("namespaces"), WatchFrom::Start, Selection::everything())
    else {
        return;
    };
    while let Ok(batch) = watch.next(100).await {
        for namespace in batch.deliveries.iter().map(|d| d.object.name().to_owned()) {
            let object =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            let context = Identity::controller("service-account-controller").context("create");
            let accounts = kind("serviceaccounts");
            // An existing account or a deleted namespace is fine.
            let _ = pipeline.create(&context, ObjectRef::new(&accounts, &namespace, ""), object).await;
        }
    }
}
