//! Distributed claims: a token may say where its groups are instead of having them. What is there is a token itself, whose issuer
//! is verified like that of any other. The messages are upstream's.

use shim_model::go_quote::Quoted;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value};
use shim_core::jwt::{Issuer, untrusted_issuer};
use tokio::task::JoinHandle;
use transport::tls::TlsError;

use super::provider::Provider;
use super::token::{Token, Verification};

/// Most issuers of distributed claims per issuer of tokens; a further one replaces that used least recently. Upstream, which
/// expects very few, has no bound.
const ISSUERS_MAX: usize = 16;

/// Resolves the claim with the groups.
pub(super) struct DistributedClaims {
    claim: String,
    /// The issuer of the tokens, whose authorities and audiences are those of the claims' tokens, too.
    issuer: Issuer,
    /// The issuers that were met, the one used last at the end.
    providers: Mutex<Vec<MetIssuer>>,
}

/// An issuer, and the task that reads its discovery document.
struct MetIssuer {
    url: String,
    provider: Arc<Provider>,
    initializing: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    access_token: String,
}

impl Drop for MetIssuer {
    fn drop(&mut self) {
        self.initializing.abort();
    }
}

impl DistributedClaims {
    pub(super) fn new(claim: &str, issuer: &Issuer) -> DistributedClaims {
        // The discovery document of another issuer is below its URL.
        let issuer = Issuer { discovery_url: None, ..issuer.clone() };
        DistributedClaims { claim: claim.to_owned(), issuer, providers: Mutex::default() }
    }

    /// Adds the claim if the token says where it is. `own` asks for it.
    pub(super) async fn expand(
        &self,
        claims: &mut Map<String, Value>,
        own: &Provider,
        verification: Verification<'_>,
    ) -> Result<(), String> {
        let Some(endpoint) = self.endpoint(claims)? else { return Ok(()) };
        let found = self.resolve(&endpoint, own, verification).await?;
        claims.insert(self.claim.clone(), found);
        Ok(())
    }

    /// Where the claim is; `None` if the token has it, or says nothing of it.
    fn endpoint(&self, claims: &Map<String, Value>) -> Result<Option<Endpoint>, String> {
        let (false, Some(names)) = (claims.contains_key(&self.claim), claims.get("_claim_names")) else {
            return Ok(None);
        };
        let names: BTreeMap<String, String> = serde_json::from_value(names.clone())
            .map_err(|error| format!("oidc: error parsing distributed claim names: {error}"))?;
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let mut sources: BTreeMap<String, Endpoint> = serde_json::from_value(sources.clone())
            .map_err(|error| format!("oidc: could not parse claim sources: {error}"))?;
        let Some(source) = names.get(&self.claim) else { return Ok(None) };
        let endpoint = sources.remove(source).ok_or_else(|| {
            format!("id token _claim_names contained a source {source} missing in _claims_sources")
        })?;
        Ok(Some(endpoint).filter(|endpoint| !endpoint.endpoint.is_empty()))
    }

    async fn resolve(
        &self,
        endpoint: &Endpoint,
        own: &Provider,
        verification: Verification<'_>,
    ) -> Result<Value, String> {
        let url = &endpoint.endpoint;
        let fetched =
            own.get(url, Some(endpoint.access_token.as_str()).filter(|token| !token.is_empty())).await;
        let bytes = fetched
            .map_err(|error| format!("while getting distributed claim {}: {error}", Quoted(&self.claim)))?;
        let text = String::from_utf8_lossy(&bytes);
        let unparsed = || {
            format!(
                "getting untrusted issuer from endpoint {url} failed for claim {}: malformed token",
                Quoted(&self.claim)
            )
        };
        let token = Token::parse(text.trim()).ok_or_else(unparsed)?;
        let issuer = untrusted_issuer(token.claims.as_object().ok_or_else(unparsed)?);
        let provider = self
            .provider(issuer)
            .map_err(|why| format!("verifying untrusted issuer {issuer} failed: {why}"))?;
        let verified = token.verify(&provider, &self.issuer.audiences, verification).await;
        verified.map_err(|why| format!("verify distributed claim token: {why}"))?;
        token.claims.get(&self.claim).cloned().ok_or_else(|| {
            format!(
                "jwt returned by distributed claim endpoint {url} did not contain claim: {}",
                self.claim,
                url = Quoted(url)
            )
        })
    }

    /// The provider of an issuer, once its discovery document has been read.
    fn provider(&self, url: &str) -> Result<Arc<Provider>, String> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        let met = match providers.iter().position(|met| met.url == url) {
            Some(at) => providers.remove(at),
            None => self.meet(url).map_err(|error| error.to_string())?,
        };
        let provider = met.provider.clone();
        if providers.len() >= ISSUERS_MAX {
            providers.remove(0);
        }
        providers.push(met);
        match provider.is_initialized() {
            true => Ok(provider),
            false => Err(format!("verifier not initialized for issuer: {url}", url = Quoted(url))),
        }
    }

    fn meet(&self, url: &str) -> Result<MetIssuer, TlsError> {
        let issuer = Issuer { url: url.to_owned(), ..self.issuer.clone() };
        let provider = Arc::new(Provider::new(issuer)?);
        let initializing = tokio::spawn(provider.clone().initialize());
        Ok(MetIssuer { url: url.to_owned(), provider, initializing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_issuer_used_least_recently_is_replaced() {
        let issuer = Issuer {
            url: "https://own.invalid".to_owned(),
            discovery_url: None,
            certificate_authority: String::new(),
            audiences: vec!["a".to_owned()],
        };
        let claims = DistributedClaims::new("groups", &issuer);
        let meet = |at: usize| {
            let refused = claims.provider(&format!("https://{at}.invalid")).err().unwrap();
            assert!(refused.contains("not initialized"), "{refused}");
        };
        (0..ISSUERS_MAX).for_each(meet);
        meet(0);
        meet(ISSUERS_MAX);
        let providers = claims.providers.lock().unwrap();
        let met = |at: usize| providers.iter().any(|met| met.url == format!("https://{at}.invalid"));
        assert_eq!(providers.len(), ISSUERS_MAX);
        assert!(met(0) && !met(1) && met(2) && met(ISSUERS_MAX));
    }
}
