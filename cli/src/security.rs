//! Encryption at rest, and users of other issuers, from the flags of `up` and `server`.

use std::sync::Arc;

use anyhow::Context;
use apiserver_shim::auth::oidc::{AuthenticationOptions, OidcFlags};
use apiserver_shim::storage::encryption::EncryptionAtRest;
use store::Store;
use tokio::task::JoinHandle;

use crate::arguments::security::{AuthenticationArguments, EncryptionArguments};

/// A store whose values are encrypted if they are to be.
pub struct EncryptedStore {
    pub store: Arc<dyn Store>,
    /// The task that reads a changed file again.
    pub reload: Option<JoinHandle<()>>,
}

/// Encrypts the values of a store as the flags say.
pub fn encrypt(arguments: &EncryptionArguments, store: Arc<dyn Store>) -> anyhow::Result<EncryptedStore> {
    let Some(path) = &arguments.encryption_provider_config else {
        return Ok(EncryptedStore { store, reload: None });
    };
    let encryption = EncryptionAtRest::read(path).context("--encryption-provider-config")?;
    let store = encryption.wrap(store);
    let reload =
        arguments.encryption_provider_config_automatic_reload.then(|| tokio::spawn(encryption.follow()));
    Ok(EncryptedStore { store, reload })
}

/// Who may authenticate beside the cluster's own users.
pub fn authentication(arguments: &AuthenticationArguments) -> anyhow::Result<AuthenticationOptions> {
    if let Some(path) = &arguments.authentication_config {
        return AuthenticationOptions::read(path).context("--authentication-config");
    }
    let (Some(issuer_url), Some(client_id)) = (&arguments.oidc_issuer_url, &arguments.oidc_client_id) else {
        return Ok(AuthenticationOptions::default());
    };
    let flags = OidcFlags {
        issuer_url: issuer_url.clone(),
        client_id: client_id.clone(),
        username_claim: arguments.oidc_username_claim.clone(),
        username_prefix: arguments.oidc_username_prefix.clone(),
        groups_claim: arguments.oidc_groups_claim.clone(),
        groups_prefix: arguments.oidc_groups_prefix.clone(),
        required_claims: arguments.oidc_required_claim.clone(),
        signing_algorithms: arguments.oidc_signing_algs.clone(),
        ca_file: arguments.oidc_ca_file.clone(),
    };
    AuthenticationOptions::of_flags(&flags).context("--oidc-issuer-url")
}
