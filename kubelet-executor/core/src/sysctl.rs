//! Which sysctls Pods may set: the safe ones, and those that the administrator allows.

/// The namespace that isolates a sysctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

/// The sysctls that are isolated between Pods, as of Kubernetes 1.36. All of them are namespaced in Linux 4.15 and
/// later. Pod Security allows the same (`shim_core::pod_security::SAFE_SYSCTLS`); a test of `sim` compares both.
pub const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Prefixes of sysctls that have a namespace.
const NAMESPACED: [(&str, Namespace); 4] = [
    ("kernel.shm", Namespace::Ipc),
    ("kernel.msg", Namespace::Ipc),
    ("fs.mqueue.", Namespace::Ipc),
    ("net.", Namespace::Net),
];
/// The namespaced sysctl that has no prefix in common with others.
const SEMAPHORES: &str = "kernel.sem";

/// Limit of a sysctl's name, as in the API.
const NAME_BYTES_MAX: usize = 253;

/// A pattern that the administrator allows: a name, or a prefix with `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    name: String,
    is_prefix: bool,
    namespace: Namespace,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PatternError {
    #[error(
        "invalid sysctl pattern \"{0}\": expected a name such as net.core.somaxconn, or a prefix such as kernel.msg*"
    )]
    Malformed(String),
    #[error("the sysctls \"{0}\" are not known to be namespaced")]
    NotNamespaced(String),
}

impl Pattern {
    /// Parses a name or a prefix with `*`; slashes may separate the parts.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = normalized(text);
        let name = text.strip_suffix('*').unwrap_or(&text);
        let is_prefix = name.len() < text.len();
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let ends_well = is_prefix || edge(name.bytes().last());
        if name.len() > NAME_BYTES_MAX || !name.bytes().all(valid) || !edge(name.bytes().next()) || !ends_well
        {
            return Err(PatternError::Malformed(text));
        }
        let namespace = namespace(name).ok_or_else(|| PatternError::NotNamespaced(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), is_prefix, namespace })
    }

    fn matches(&self, sysctl: &str) -> bool {
        if self.is_prefix { sysctl.starts_with(&self.name) } else { sysctl == self.name }
    }
}

fn namespace(sysctl: &str) -> Option<Namespace> {
    if sysctl == SEMAPHORES {
        return Some(Namespace::Ipc);
    }
    NAMESPACED.iter().find(|(prefix, _)| sysctl.starts_with(prefix)).map(|(_, namespace)| *namespace)
}

/// The name with dots between its parts. If the first separator is a slash, slashes separate, and dots belong to the
/// parts (the name of a network interface, for instance).
pub fn normalized(name: &str) -> String {
    let first = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    if first != Some(b'/') {
        return name.to_owned();
    }
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// Checks a sysctl of a Pod that may share namespaces with the host; the error is upstream's message.
pub fn check(sysctl: &str, allowed: &[Pattern], host_network: bool, host_ipc: bool) -> Result<(), String> {
    let sysctl = normalized(sysctl);
    let safe = SAFE.contains(&sysctl.as_str()).then(|| namespace(&sysctl)).flatten();
    let allowed = || allowed.iter().find(|pattern| pattern.matches(&sysctl)).map(|pattern| pattern.namespace);
    match safe.or_else(allowed) {
        Some(Namespace::Ipc) if host_ipc => Err(format!("\"{sysctl}\" not allowed with host ipc enabled")),
        Some(Namespace::Net) if host_network => {
            Err(format!("\"{sysctl}\" not allowed with host net enabled"))
        }
        Some(_) => Ok(()),
        None => Err(format!("\"{sysctl}\" not allowlisted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_and_allowed_sysctls() {
        let allowed = [Pattern::parse("kernel.msg*").unwrap(), Pattern::parse("net/core/somaxconn").unwrap()];
        let table = [
            ("net.ipv4.tcp_syncookies", false, false, ""),
            ("net/ipv4/tcp_syncookies", false, false, ""),
            ("kernel.msgmax", false, false, ""),
            ("net.core.somaxconn", false, false, ""),
            ("net.core.somaxconn2", false, false, "\"net.core.somaxconn2\" not allowlisted"),
            ("kernel.sem", false, false, "\"kernel.sem\" not allowlisted"),
            (
                "kernel.shm_rmid_forced",
                false,
                true,
                "\"kernel.shm_rmid_forced\" not allowed with host ipc enabled",
            ),
            ("kernel.msgmax", true, true, "\"kernel.msgmax\" not allowed with host ipc enabled"),
            ("net.ipv4.tcp_rmem", true, false, "\"net.ipv4.tcp_rmem\" not allowed with host net enabled"),
        ];
        for (sysctl, host_network, host_ipc, expected) in table {
            let message = check(sysctl, &allowed, host_network, host_ipc).err().unwrap_or_default();
            assert_eq!(message, expected, "{sysctl}");
        }
        assert!(check("kernel.msgmax", &[], false, false).is_err(), "nothing unsafe is allowed by default");
    }

    #[test]
    fn patterns_are_checked() {
        for valid in
            ["kernel.sem", "kernel.shm*", "net.*", "fs.mqueue.queues_max", "net/ipv4/conf/eth0.1/forwarding"]
        {
            assert!(Pattern::parse(valid).is_ok(), "{valid}");
        }
        for (text, namespaced) in [
            ("", true),
            ("*", true),
            ("Kernel.Msg", true),
            ("net..", true),
            ("kernel.panic", false),
            ("vm.*", false),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert_eq!(matches!(error, PatternError::Malformed(_)), namespaced, "{text}: {error}");
        }
    }

    #[test]
    fn slashes_become_dots() {
        let table =
            [("kernel/shm", "kernel.shm"), ("net.ipv4", "net.ipv4"), ("net/a.b/c", "net.a/b.c"), ("x", "x")];
        for (given, expected) in table {
            assert_eq!(normalized(given), expected);
        }
    }
}
