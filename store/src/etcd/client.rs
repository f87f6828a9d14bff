//! A client of etcd's KV and Watch services over one channel that balances between the endpoints.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::proto::{kv_client::KvClient, watch_client::WatchClient};
use super::{CONNECT_TIMEOUT, RESPONSE_BYTES_MAX};

/// HTTP/2 keep-alive: how often an idle connection is pinged, and how long the answer may take. etcd closes connections
/// that ping more often than every five seconds.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Metadata that makes a member without a leader refuse a request, so that a partitioned member serves no stale watch.
const REQUIRE_LEADER: (&str, &str) = ("hasleader", "true");

/// A channel that adds the metadata to every request.
pub(super) type Transport = InterceptedService<Channel, RequireLeader>;

/// Adds [`REQUIRE_LEADER`] to every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequireLeader;

impl Interceptor for RequireLeader {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let (key, value) = REQUIRE_LEADER;
        request.metadata_mut().insert(key, MetadataValue::from_static(value));
        Ok(request)
    }
}

/// Both services on one channel. Nothing is dialled before the first request.
#[derive(Clone, Debug)]
pub(super) struct Client {
    kv: KvClient<Transport>,
    watch: WatchClient<Transport>,
}

impl Client {
    pub(super) fn new(endpoints: &[String]) -> Result<Client, tonic::transport::Error> {
        let endpoints = endpoints.iter().map(|endpoint| {
            Ok(Endpoint::from_shared(endpoint.clone())?
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .keep_alive_while_idle(true))
        });
        let endpoints = endpoints.collect::<Result<Vec<Endpoint>, tonic::transport::Error>>()?;
        let channel = Channel::balance_list(endpoints.into_iter());
        Ok(Client {
            kv: KvClient::with_interceptor(channel.clone(), RequireLeader)
                .max_decoding_message_size(RESPONSE_BYTES_MAX),
            watch: WatchClient::with_interceptor(channel, RequireLeader)
                .max_decoding_message_size(RESPONSE_BYTES_MAX),
        })
    }

    /// A clone of the KV client, which shares the channel.
    pub(super) fn kv(&self) -> KvClient<Transport> {
        self.kv.clone()
    }

    /// A clone of the Watch client, which shares the channel.
    pub(super) fn watch(&self) -> WatchClient<Transport> {
        self.watch.clone()
    }
}
