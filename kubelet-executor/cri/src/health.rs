//! The client of the gRPC health checking protocol, for probes. It is here because this crate links tonic.

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
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
/// The statuses by number.
const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Checks the health of a service of the server at `address` (`host:port`); an empty name means the whole server. `Err`
/// is the probe's message.
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
    let request = HealthCheckRequest { service: service.to_owned() };
    match tokio::time::timeout(limit, ask(channel, request)).await {
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

async fn ask(channel: Channel, request: HealthCheckRequest) -> Result<i32, tonic::Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let response = grpc
        .unary(Request::new(request), path, ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default())
        .await?;
    Ok(response.into_inner().status)
}

#[cfg(test)]
mod tests;
