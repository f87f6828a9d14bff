//! Flags of the API server about stored secrets and about users of other issuers.

use std::path::PathBuf;

use clap::Args;

/// Encryption at rest.
#[derive(Debug, Clone, Args)]
pub struct EncryptionArguments {
    /// File with an EncryptionConfiguration: how the values of which resources are encrypted in the store [default: as they are]
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Read that file again when it has changed, within a minute
    #[arg(long, requires = "encryption_provider_config")]
    pub encryption_provider_config_automatic_reload: bool,
}

/// Users of other issuers.
#[derive(Debug, Clone, Args)]
pub struct AuthenticationArguments {
    /// File with an AuthenticationConfiguration: issuers of tokens, how their claims make users, and anonymous requests
    #[arg(long, value_name = "FILE", conflicts_with_all = OIDC_FLAGS)]
    pub authentication_config: Option<PathBuf>,
    /// URL of the OpenID Connect issuer whose tokens are accepted; https only
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// The claim with the user's name
    #[arg(long, value_name = "CLAIM", default_value = "sub", requires = "oidc_issuer_url")]
    pub oidc_username_claim: String,
    /// Prefix of user names; '-' for none [default: the issuer's URL and '#', none for the claim 'email']
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true,
        requires = "oidc_issuer_url",
        allow_hyphen_values = true
    )]
    pub oidc_username_prefix: String,
    /// The claim with the user's groups: a list or a text [default: no groups]
    #[arg(
        long,
        value_name = "CLAIM",
        default_value = "",
        hide_default_value = true,
        requires = "oidc_issuer_url"
    )]
    pub oidc_groups_claim: String,
    /// Prefix of group names [default: none]
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true,
        requires = "oidc_issuer_url"
    )]
    pub oidc_groups_prefix: String,
    /// A claim with the value that it must have; can be given several times
    #[arg(long, value_name = "CLAIM=VALUE", value_parser = key_value, requires = "oidc_issuer_url")]
    pub oidc_required_claim: Vec<(String, String)>,
    /// Algorithms that tokens may be signed with: RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512
    #[arg(
        long,
        value_name = "ALG",
        value_delimiter = ',',
        default_value = "RS256",
        requires = "oidc_issuer_url"
    )]
    pub oidc_signing_algs: Vec<String>,
    /// File with the authorities that the issuer's certificate may be of [default: those of this machine]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub oidc_ca_file: Option<PathBuf>,
}

const OIDC_FLAGS: [&str; 9] = [
    "oidc_issuer_url",
    "oidc_client_id",
    "oidc_username_claim",
    "oidc_username_prefix",
    "oidc_groups_claim",
    "oidc_groups_prefix",
    "oidc_required_claim",
    "oidc_signing_algs",
    "oidc_ca_file",
];

/// Parses `KEY=VALUE`.
fn key_value(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    parts
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected CLAIM=VALUE".to_owned())
}
