//! Reads the parts of a kubeconfig that a client of our own needs: server, trust and credentials of the current context, inline
//! or in files. Exec plugins are not supported.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

/// Address and credentials of a server.
#[derive(Clone)]
pub struct Access {
    /// `host:port`.
    pub authority: String,
    /// The name that the server's certificate must have.
    pub name: ServerName<'static>,
    /// Trust and client certificate; ALPN prefers HTTP/2.
    pub tls: Arc<ClientConfig>,
    /// The user's bearer token, if any.
    pub token: Option<String>,
}

/// Reads the current context of the file.
pub fn read(path: &Path) -> anyhow::Result<Access> {
    let text = fs::read_to_string(path).with_context(|| format!("kubeconfig {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    parse(&text, directory).with_context(|| format!("kubeconfig {}", path.display()))
}

fn parse(text: &str, directory: &Path) -> anyhow::Result<Access> {
    let config: Value = serde_yaml_ng::from_str(text)?;
    let current = config["current-context"].as_str().context("it has no current-context")?;
    let context = &named(&config, "contexts", current)?["context"];
    let reference =
        |field: &str| context[field].as_str().with_context(|| format!("the context has no {field}"));
    let cluster = &named(&config, "clusters", reference("cluster")?)?["cluster"];
    let user = &named(&config, "users", reference("user")?)?["user"];

    let server = cluster["server"].as_str().context("the cluster has no server")?;
    let authority = server.strip_prefix("https://").context("the server is not https")?;
    let authority = authority.trim_end_matches('/');
    ensure!(!authority.contains('/'), "servers below a path are not supported");
    let (host, authority) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, authority.to_owned()),
        _ => (authority, format!("{authority}:443")),
    };
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;

    let mut roots = RootCertStore::empty();
    let authorities =
        data(cluster, "certificate-authority", directory)?.context("the cluster has no authority")?;
    for certificate in CertificateDer::pem_slice_iter(&authorities) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let certificate = data(user, "client-certificate", directory)?;
    let key = data(user, "client-key", directory)?;
    let mut tls = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => bail!("the user has a certificate or a key without the other"),
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let token = user["token"].as_str().map(str::to_owned);
    Ok(Access { authority, name, tls: Arc::new(tls), token })
}

fn named<'a>(config: &'a Value, list: &str, name: &str) -> anyhow::Result<&'a Value> {
    let entries = config[list].as_array().with_context(|| format!("it has no {list}"))?;
    let found = entries.iter().find(|entry| entry["name"] == name);
    found.with_context(|| format!("{list} has no {name}"))
}

/// A field that is inline (`FIELD-data`, base64) or names a file.
fn data(of: &Value, field: &str, directory: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(inline) = of[format!("{field}-data")].as_str() {
        return Ok(Some(BASE64_STANDARD.decode(inline).with_context(|| format!("{field}-data"))?));
    }
    let Some(path) = of[field].as_str().map(PathBuf::from) else { return Ok(None) };
    let path = directory.join(path);
    Ok(Some(fs::read(&path).with_context(|| format!("{field} {}", path.display()))?))
}

#[cfg(test)]
mod tests;
