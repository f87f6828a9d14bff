//! How a framework names its master: `host:port`, `http://host:port`, `zk://…/path` or `file:///path`.

use std::fmt;

/// The port of a master when none is given.
const MASTER_PORT: u16 = 5050;
/// The port of a ZooKeeper server when none is given.
const ZOOKEEPER_PORT: u16 = 2181;

/// Where a master listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Endpoint {
    /// Whether it speaks HTTPS.
    pub tls: bool,
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A ZooKeeper ensemble and the node below which masters announce themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ZooKeeperPath {
    /// `host:port` of each server.
    pub servers: Vec<String>,
    pub path: String,
    /// `user:password` of the scheme `digest`.
    pub digest: Option<String>,
}

/// A parsed name of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Master {
    /// One master; others are found by its redirects.
    Direct(Endpoint),
    /// The leader is looked up in ZooKeeper.
    ZooKeeper(ZooKeeperPath),
    /// The name is in a file.
    File(String),
}

/// Why a name is none of a master.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Failed to create a master detector for '{name}': {reason}")]
#[allow(missing_docs)]
pub struct InvalidMaster {
    pub name: String,
    pub reason: &'static str,
}

/// Parses the name that a framework gives to its driver.
pub fn parse(name: &str) -> Result<Master, InvalidMaster> {
    let trimmed = name.trim();
    // Spark removes this prefix itself; other frameworks pass it on.
    let rest = trimmed.strip_prefix("mesos://").unwrap_or(trimmed);
    let parsed = if let Some(path) = rest.strip_prefix("zk://") {
        zookeeper(path).map(Master::ZooKeeper)
    } else if let Some(path) = rest.strip_prefix("file://") {
        if path.starts_with('/') {
            Ok(Master::File(path.to_owned()))
        } else {
            Err("expecting 'file:///path/to/file'")
        }
    } else {
        endpoint(rest).map(Master::Direct)
    };
    parsed.map_err(|reason| InvalidMaster { name: name.to_owned(), reason })
}

/// Parses `host:port`, with `http://`, `https://` or a process id's `master@` before it.
pub fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let (tls, authority) = match text.split_once("://") {
        None => (false, text),
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return Err("expecting 'host:port', 'http://', 'https://', 'zk://' or 'file://'"),
    };
    let authority = authority.split('/').next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = host_and_port(authority)?;
    Ok(Endpoint { tls, host: host.to_owned(), port: port.unwrap_or(MASTER_PORT) })
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("an IPv6 address without ']'")?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err("expecting a port after the IPv6 address"),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:%".contains(c));
    if !is_host {
        return Err("expecting 'host:port'");
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(0)) | Some(Err(_)) => return Err("the port is not a number from 1 to 65535"),
        Some(Ok(port)) => Some(port),
    };
    Ok((host, port))
}

/// Parses `[user:password@]host[:port][,host[:port]…]/path`.
fn zookeeper(text: &str) -> Result<ZooKeeperPath, &'static str> {
    let slash = text.find('/').ok_or("expecting a path: zk://host:port/path")?;
    let (authority, path) = text.split_at(slash);
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Err("expecting a path ('/' is not supported)");
    }
    if path.contains("//") || path.split('/').any(|part| part == "." || part == "..") {
        return Err("the path is invalid");
    }
    let (digest, servers) = match authority.rsplit_once('@') {
        Some((digest, servers)) if digest.contains(':') => (Some(digest.to_owned()), servers),
        Some(_) => return Err("expecting 'username:password' before '@'"),
        None => (None, authority),
    };
    Ok(ZooKeeperPath { servers: self::servers(servers)?, path: path.to_owned(), digest })
}

/// Parses the servers of a ZooKeeper ensemble: `host[:port][,host[:port]…]`.
pub fn servers(text: &str) -> Result<Vec<String>, &'static str> {
    let mut parsed = Vec::new();
    for server in text.split(',') {
        let (host, port) = host_and_port(server.trim())?;
        let port = port.unwrap_or(ZOOKEEPER_PORT);
        parsed.push(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(tls: bool, host: &str, port: u16) -> Master {
        Master::Direct(Endpoint { tls, host: host.to_owned(), port })
    }

    #[test]
    fn one_master() {
        let cases = [
            ("127.0.0.1:5050", direct(false, "127.0.0.1", 5050)),
            (" master.example:6000 ", direct(false, "master.example", 6000)),
            ("master", direct(false, "master", 5050)),
            ("mesos://m:1", direct(false, "m", 1)),
            ("master@10.0.0.1:5050", direct(false, "10.0.0.1", 5050)),
            ("http://m:5050/", direct(false, "m", 5050)),
            ("https://m", direct(true, "m", 5050)),
            ("[::1]:5051", direct(false, "::1", 5051)),
        ];
        for (name, wanted) in cases {
            assert_eq!(parse(name), Ok(wanted), "{name}");
        }
        assert_eq!(endpoint("https://[::1]:1").unwrap().to_string(), "https://[::1]:1");
    }

    #[test]
    fn zookeeper_and_file() {
        let wanted = ZooKeeperPath {
            servers: vec!["a:2181".to_owned(), "b:2182".to_owned(), "[::1]:1".to_owned()],
            path: "/mesos/one".to_owned(),
            digest: Some("user:pass@word".to_owned()),
        };
        assert_eq!(parse("zk://user:pass@word@a,b:2182,[::1]:1/mesos/one/"), Ok(Master::ZooKeeper(wanted)));
        assert_eq!(parse("file:///etc/mesos/zk"), Ok(Master::File("/etc/mesos/zk".to_owned())));
    }

    #[test]
    fn other_names_are_refused_with_a_reason() {
        for name in [
            "",
            ":5050",
            "a:0",
            "a:65536",
            "a:b",
            "a b",
            "ftp://a",
            "zk://a:2181",
            "zk://a:2181/",
            "zk://user@a/mesos",
            "zk://,/mesos",
            "zk://a/x/../y",
            "file://x",
            "[::1",
            "[::1]x",
        ] {
            let error = parse(name).unwrap_err();
            assert!(error.to_string().contains(&format!("'{name}': ")), "{error}");
        }
    }
}
