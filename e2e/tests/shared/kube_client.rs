//! A kube-rs client of a cluster under test, over the transport of our own components.

use e2e::{cluster::Cluster, kubeconfig};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use kube::client::{Body, middleware::BaseUriLayer};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;
use tower::{BoxError, Layer};
use transport::client::{Client, ClientOptions};

/// A client with the administrator's credentials. Answers must begin within `response_timeout`.
pub fn connect(
    cluster: &Cluster,
    runtime: &Runtime,
    response_timeout: Duration,
) -> anyhow::Result<kube::Client> {
    let access = kubeconfig::read(&cluster.kubeconfig())?;
    let base: Uri = format!("https://{}", access.authority).parse()?;
    // As kube-rs' own transport: WebSockets need HTTP/1.1.
    let mut tls = (*access.tls).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let http = Client::new(ClientOptions { response_timeout, ..ClientOptions::with_tls(Arc::new(tls)) });
    let service = tower::service_fn(move |request: Request<Body>| {
        let http = http.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(BoxError::from)?.to_bytes();
            http.send(Request::from_parts(head, Full::new(body))).await.map_err(BoxError::from)
        }
    });
    let service = BaseUriLayer::new(base).layer(service);
    Ok(runtime.block_on(async { kube::Client::new(service, "default") }))
}
