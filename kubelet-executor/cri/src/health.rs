//! The health check of gRPC servers, as probes ask it. Not the runtime's, but the same protocol: here is where tonic is.

use std::time::Duration;

use tonic::{
    Code, Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Answered {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The status of a server that serves.
const SERVING: i32 = 1;
/// The other statuses by number.
const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks the server at `address` (`host:port`) for the health of a service; an empty name means the server's own.
/// `Err` carries what people should read.
pub async fn check(address: &str, service: &str, limit: Duration) -> Result<(), String> {
    let failed = |e: tonic::transport::Error| {
        let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        format!("error: failed to connect service at \"{address}\": {cause}")
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .and_then(|endpoint| endpoint.user_agent("kube-probe/1.36"))
        .map_err(failed)?;
    let channel = match tokio::time::timeout(limit, endpoint.connect()).await {
        Ok(channel) => channel.map_err(failed)?,
        Err(_) => return Err(format!("timeout: failed to connect service \"{address}\" within {limit:?}")),
    };
    let asked = Asked { service: service.to_owned() };
    match tokio::time::timeout(limit, ask(channel, asked)).await {
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(other)) => {
            let name = usize::try_from(other).ok().and_then(|i| NAMES.get(i)).unwrap_or(&"UNKNOWN");
            Err(format!("service unhealthy (responded with \"{name}\")"))
        }
        Ok(Err(status)) if status.code() == Code::Unimplemented => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        )),
        Ok(Err(status)) => Err(format!("error: health rpc probe failed: {status}")),
        Err(_) => Err(format!("timeout: health rpc did not complete within {limit:?}")),
    }
}

async fn ask(channel: Channel, asked: Asked) -> Result<i32, tonic::Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let answer = grpc.unary(Request::new(asked), path, ProstCodec::<Asked, Answered>::default()).await?;
    Ok(answer.into_inner().status)
}

#[cfg(test)]
mod tests;
