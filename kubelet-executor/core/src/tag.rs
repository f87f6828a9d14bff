//! The name that tells a node's resources on a machine from those of another node there.

/// A short, stable name for the resources of the node with this directory. The path is absolute.
pub fn node_tag(directory: &[u8]) -> String {
    let hash = hash(directory);
    format!("{:08x}", (hash ^ (hash >> 32)) as u32)
}

/// FNV-1a: stable across releases, unlike the standard library's hasher.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    //! Tags outlive releases: a new one removes what an old one left.

    use super::node_tag;

    #[test]
    fn tags_are_stable() {
        assert_eq!(node_tag(b"/var/lib/catamaran/node"), "ece3b13b");
        assert_eq!(node_tag(b"/var/lib/catamaran-agent/node"), "23113556");
    }
}
