//! This machine's Pod CIDR: requested from the server at each start, so that no two machines have the same.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use apiserver_shim::storage::{
    pod_cidrs::{AssignError, Cidr, PodCidrError, PodCidrs},
    service_addresses::ServiceCidr,
};
use kernel::agent_link::{AddressRange, AddressRangeError, Addresses, LinkError, request_address_range};

use crate::progress::Progress;

/// The pause after the first failed request; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause between requests to a server that does not answer, and the one between requests while no range is
/// left. A range becomes free when a Node is removed, which happens seldom.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The HTTP status of a range that cannot be had.
const CONFLICT: u16 = 409;

/// Where a machine requests its Pod CIDR.
#[derive(Clone)]
pub enum Source {
    /// The server at this `host:port`, with the node's certificate.
    Remote(String, Arc<rustls::ClientConfig>),
    /// The server in this process, for the node of this name.
    Local(Ranges, String),
}

/// The addresses of this machine, and where they came from.
pub struct Network {
    pub(crate) source: Source,
    pub(crate) addresses: Addresses,
}

/// The server's ranges.
#[derive(Clone)]
pub struct Ranges {
    /// Those of Pods.
    pub pod_cidrs: PodCidrs,
    /// That of Services.
    pub service_cidr: ServiceCidr,
}

impl Source {
    async fn request(&self, requested: Option<Cidr>) -> Result<Addresses, LinkError> {
        match self {
            Source::Remote(master, tls) => {
                let requested = requested.map(|cidr| cidr.to_string());
                request_address_range(master, tls, requested.as_deref()).await
            }
            Source::Local(ranges, node) => ranges.assign(node, requested).await.map_err(|e| match e {
                AddressRangeError::Refused(text) => LinkError::Refused { status: CONFLICT, text },
                AddressRangeError::Unavailable(text) => LinkError::Unreachable(text),
            }),
        }
    }

    /// Requests the Pod CIDR until the server answers. If it does not answer, the `previous` one is used: an agent that is
    /// restarted must find its containers again whether or not the server runs.
    pub async fn obtain(
        &self,
        requested: Option<Cidr>,
        previous: Option<kubelet_executor::Config>,
        progress: &Progress,
    ) -> anyhow::Result<Addresses> {
        let previous = previous.and_then(|config| Some((config.pod_cidr?, config.virtual_ranges)));
        let previous =
            previous.filter(|(cidr, _)| requested.is_none_or(|wanted| wanted.to_string() == *cidr));
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.request(requested).await {
                Ok(addresses) => return Ok(addresses),
                Err(LinkError::Refused { status: CONFLICT, text }) => bail!("{text}; set another --pod-cidr"),
                Err(error @ LinkError::KubernetesApi) => bail!("{error}"),
                Err(error) => error,
            };
            if let Some((previous, virtual_ranges)) = previous {
                tracing::warn!(%error, previous, "the server assigns no Pod CIDR; using the previous one");
                return Ok(Addresses { range: AddressRange::Assigned(previous), virtual_ranges });
            }
            if pause == PAUSE_MIN {
                progress.note(&format!("waiting for the server to assign a Pod CIDR: {error}"));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Requests until a range is free, when none was left at the start.
    pub async fn wait_until_assigned(&self) -> String {
        loop {
            tokio::time::sleep(PAUSE_MAX).await;
            match self.request(None).await.map(|addresses| addresses.range) {
                Ok(AddressRange::Assigned(range)) => return range,
                Ok(AddressRange::Exhausted(_)) => {}
                Err(error) => tracing::debug!(%error, "no Pod CIDR yet"),
            }
        }
    }
}

impl Ranges {
    /// Assigns a Pod CIDR to a node, in the terms of the agent link.
    pub async fn assign(&self, node: &str, requested: Option<Cidr>) -> Result<Addresses, AddressRangeError> {
        let range = match self.pod_cidrs.assign(node, requested).await {
            Ok(cidr) => AddressRange::Assigned(cidr.to_string()),
            Err(PodCidrError::Refused(error @ AssignError::Exhausted(_))) => {
                AddressRange::Exhausted(error.to_string())
            }
            Err(PodCidrError::Refused(error)) => return Err(AddressRangeError::Refused(error.to_string())),
            Err(error @ PodCidrError::Unavailable(_)) => {
                return Err(AddressRangeError::Unavailable(error.to_string()));
            }
        };
        Ok(Addresses { range, virtual_ranges: vec![self.service_cidr.to_string()] })
    }
}
