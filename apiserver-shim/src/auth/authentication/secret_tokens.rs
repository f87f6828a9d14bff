//! Tokens of service accounts that are kept in Secrets: whether they hold, and which have been used.

use jsonwebtoken::{Algorithm, Validation};
use shim_core::controllers::served;
use shim_core::secret_tokens::{self, ISSUER, SecretTokenClaims, SecretTokenError};
use tokio::sync::mpsc;

use super::{Authenticator, User, service_account_groups};
use crate::storage::registry::now;

/// Most uses that wait to be noted. Those beyond are noted when the token is used again.
const WAITING_MAX: usize = 64;

/// Namespace and name of a Secret whose token was used.
type Used = (String, String);

/// Takes note of uses.
pub(super) type UseSender = mpsc::Sender<Used>;

/// The uses of tokens that are not noted yet.
#[derive(Debug)]
pub struct SecretTokenUses(mpsc::Receiver<Used>);

impl Authenticator {
    /// The authenticator, and the uses of the tokens that it accepts, to be noted in the Secrets.
    #[must_use]
    pub fn reporting_uses(self) -> (Authenticator, SecretTokenUses) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Authenticator { uses: Some(sender), ..self }, SecretTokenUses(receiver))
    }

    /// Verifies a token that a Secret holds; `None` if it is none, or its signature is wrong.
    pub(super) fn check_in_secret(&self, token: &str) -> Option<Result<User, SecretTokenError>> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        // They have no end and no audience.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let verified = jsonwebtoken::decode::<SecretTokenClaims>(token, &self.key.checking, &validation);
        let claims = verified.ok()?.claims;
        let peek = |plural: &'static str, name: &str| {
            self.registry.peek(served("", plural), &claims.namespace, name).map(|object| object.value())
        };
        let secret = peek("secrets", &claims.secret);
        let account = peek("serviceaccounts", &claims.account);
        let checked = secret_tokens::check(&claims, token, secret.as_ref(), account.as_ref());
        let is_use = matches!(checked, Ok(()) | Err(SecretTokenError::Marked { .. }));
        let is_due =
            secret.is_some_and(|secret| secret_tokens::due_last_used(&secret, now().seconds()).is_some());
        if let Some(uses) = self.uses.as_ref().filter(|_| is_use && is_due) {
            let _ = uses.try_send((claims.namespace.clone(), claims.secret.clone()));
        }
        Some(checked.map(|()| User {
            groups: service_account_groups(&claims.namespace),
            name: claims.subject,
            uid: claims.account_uid,
            ..User::default()
        }))
    }
}

impl SecretTokenUses {
    /// Namespace and name of the next Secret whose token was used and whose label [`LAST_USED`](secret_tokens::LAST_USED) is due;
    /// `None` when the authenticator is gone.
    pub async fn next(&mut self) -> Option<(String, String)> {
        self.0.recv().await
    }
}
