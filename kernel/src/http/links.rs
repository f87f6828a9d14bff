//! The endpoints of agents on other machines, over TLS only: the link's upgrade, joining, and the address range of a machine.

use std::sync::Arc;

use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;

use super::{
    Answer, Handlers, Peer,
    negotiate::{self, full, text, with_header},
};
use crate::agent_link::{
    AddressRangeError, LINK_PROTOCOL, answer_to_json, request_from_json, requested_from_json, serve_frames,
    to_json,
};

/// Opens an agent's link.
pub(super) async fn upgrade(handlers: &Arc<Handlers>, peer: &Peer, mut request: Request<Incoming>) -> Answer {
    let Some(authority) = &handlers.authority else {
        return text(StatusCode::NOT_FOUND, "This master takes no agents from other machines");
    };
    if request.method() != Method::POST {
        return negotiate::wrong_method(request.method(), &["POST"]);
    }
    let Some(certificate) = peer.certificate.as_deref().filter(|_| peer.tls) else {
        return text(StatusCode::UNAUTHORIZED, "An agent's link needs TLS and a certificate of the cluster");
    };
    let name = match authority.admits(certificate) {
        Ok(name) => name,
        Err(refusal) => return text(StatusCode::FORBIDDEN, refusal.to_string()),
    };
    if request.headers().get(header::UPGRADE).is_none_or(|value| value != LINK_PROTOCOL) {
        return text(StatusCode::UPGRADE_REQUIRED, format!("Expecting 'Upgrade: {LINK_PROTOCOL}'"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (queue, address) = (handlers.queue.clone(), peer.address);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => {
                tracing::info!(agent = %name, %address, "an agent's link is up");
                serve_frames(TokioIo::new(stream), queue).await;
                tracing::info!(agent = %name, %address, "an agent's link is down");
            }
            Err(error) => tracing::debug!(%error, "an agent's link was not opened"),
        }
    });
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let response = with_header(response, header::CONNECTION, "upgrade");
    with_header(response, header::UPGRADE, LINK_PROTOCOL)
}

/// Handles a join request.
pub(super) async fn join(handlers: &Handlers, peer: &Peer, request: Request<Incoming>) -> Answer {
    let Some(authority) = &handlers.authority else {
        return text(StatusCode::NOT_FOUND, "This master takes no agents from other machines");
    };
    if request.method() != Method::POST {
        return negotiate::wrong_method(request.method(), &["POST"]);
    }
    if !peer.tls {
        return text(StatusCode::FORBIDDEN, "Joining needs TLS");
    }
    let (head, body) = request.into_parts();
    let (body, _lease) = match negotiate::read_leased(&head, body).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let request = match request_from_json(&body) {
        Ok(request) => request,
        Err(refusal) => return text(StatusCode::BAD_REQUEST, refusal.to_string()),
    };
    let name = request.node_name.clone();
    let renewed = peer.certificate.as_deref().filter(|_| request.token.is_empty());
    let joined = match renewed {
        Some(certificate) => authority.renew(certificate, request).await,
        None => authority.join(request).await,
    };
    match joined {
        Ok(joined) => {
            let renewed = renewed.is_some();
            tracing::info!(agent = %name, address = %peer.address, renewed, "a machine has a new certificate");
            negotiate::ok("application/json", to_json(&joined).into())
        }
        Err(refusal) => text(StatusCode::FORBIDDEN, refusal.to_string()),
    }
}

/// Assigns the address range of the machine that the certificate names.
pub(super) async fn address_range(handlers: &Handlers, peer: &Peer, request: Request<Incoming>) -> Answer {
    let Some(authority) = &handlers.authority else {
        return text(StatusCode::NOT_FOUND, "This master takes no agents from other machines");
    };
    if request.method() != Method::POST {
        return negotiate::wrong_method(request.method(), &["POST"]);
    }
    let Some(certificate) = peer.certificate.as_deref().filter(|_| peer.tls) else {
        return text(StatusCode::UNAUTHORIZED, "An address range needs TLS and a certificate of the cluster");
    };
    let name = match authority.admits(certificate) {
        Ok(name) => name,
        Err(refusal) => return text(StatusCode::FORBIDDEN, refusal.to_string()),
    };
    let (head, body) = request.into_parts();
    let (body, _lease) = match negotiate::read_leased(&head, body).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let requested = match requested_from_json(&body) {
        Ok(requested) => requested,
        Err(refusal) => return text(StatusCode::BAD_REQUEST, refusal.to_string()),
    };
    match authority.address_range(&name, requested.as_deref()).await {
        Ok(answer) => negotiate::ok("application/json", answer_to_json(&answer).into()),
        Err(error @ AddressRangeError::Refused(_)) => text(StatusCode::CONFLICT, error.to_string()),
        Err(error @ AddressRangeError::Unavailable(_)) => {
            text(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
    }
}
