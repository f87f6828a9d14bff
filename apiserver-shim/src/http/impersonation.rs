//! Requests in the name of another user.

use std::sync::Arc;

use http::HeaderMap;
use shim_model::status::Status;

use super::service::Api;
use crate::auth::authentication::{Impersonation, User};
use crate::auth::authorization::refusal;

/// The user to act as and, if the request impersonates, the user who sent it.
pub async fn impersonate(
    api: &Api,
    user: Arc<User>,
    headers: &HeaderMap,
) -> Result<(Arc<User>, Option<Arc<User>>), Status> {
    let Some(wanted) = Impersonation::of(headers)? else { return Ok((user, None)) };
    for request in wanted.requests() {
        let decision = Box::pin(api.access().decide(&user, &request)).await;
        if !decision.allowed {
            return Err(refusal(&user, &request, &decision.reason));
        }
    }
    Ok((Arc::new(wanted.user()), Some(user)))
}
