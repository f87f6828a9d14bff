//! The NAT rules that the CNI plugins made for a cluster's sandboxes, among those of other clusters.

use std::collections::BTreeSet;

use super::{NAMED, Owner, Whose};

/// The rules and chains of sandboxes in the output of `iptables -t nat -S`. The plugins' common chains of host ports stay.
pub(super) fn of_nat(owner: &Owner, listed: &str) -> Vec<(Whose, String)> {
    let common = |rule: &str| rule.contains("CNI-HOSTPORT-") && !rule.contains(NAMED);
    let rules: Vec<&str> = listed.lines().filter(|rule| rule.contains("CNI-") && !common(rule)).collect();
    // The rule that jumps to a sandbox's chain names its network in a comment; the chain's own rules need not.
    let foreign: BTreeSet<&str> = rules
        .iter()
        .filter(|rule| owner.whose(rule) == Whose::Foreign)
        .flat_map(|rule| rule.split(' ').filter(|word| is_chain_of_sandbox(word)))
        .collect();
    let whose = |rule: &str| match owner.whose(rule) {
        Whose::Unknown if rule.split(' ').any(|word| foreign.contains(word)) => Whose::Foreign,
        whose => whose,
    };
    rules.into_iter().map(|rule| (whose(rule), format!("rule {rule}"))).collect()
}

fn is_chain_of_sandbox(word: &str) -> bool {
    word.starts_with("CNI-") && !word.starts_with("CNI-HOSTPORT-")
}

#[cfg(test)]
mod tests {
    //! Rules as the bridge and portmap plugins of Debian 12 write them.

    use std::path::PathBuf;

    use super::*;

    const LISTED: &str = r#"-P PREROUTING ACCEPT
-N CNI-DN-aaaa
-N CNI-HOSTPORT-DNAT
-N CNI-aaaa
-N CNI-bbbb
-N CNI-cccc
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \"catamaran-OURS\" id: \"1\"" -j CNI-aaaa
-A POSTROUTING -s 10.245.0.2/32 -m comment --comment "name: \"catamaran-01234567\" id: \"2\"" -j CNI-bbbb
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"catamaran-OURS\" id: \"1\"" -j CNI-DN-aaaa
-A CNI-aaaa -d 10.244.0.0/24 -m comment --comment "name: \"catamaran-OURS\" id: \"1\"" -j ACCEPT
-A CNI-bbbb ! -d 224.0.0.0/4 -j MASQUERADE
-A CNI-cccc ! -d 224.0.0.0/4 -j MASQUERADE
"#;

    #[test]
    fn rules_of_other_clusters_are_told_from_ours_and_from_unowned_ones() {
        let owner = Owner::of_nodes(&[PathBuf::from("/var/lib/catamaran/node")]);
        let listed = LISTED.replace("OURS", &owner.tags[0]);
        let found = of_nat(&owner, &listed);
        let of = |whose: Whose| -> Vec<&str> {
            let same = found.iter().filter(|(other, _)| *other == whose);
            same.map(|(_, rule)| rule.split(' ').nth(2).unwrap_or_default()).collect()
        };
        assert_eq!(of(Whose::Foreign), ["CNI-bbbb", "POSTROUTING", "CNI-bbbb"]);
        assert_eq!(of(Whose::Ours), ["POSTROUTING", "CNI-HOSTPORT-DNAT", "CNI-aaaa"]);
        assert_eq!(of(Whose::Unknown), ["CNI-DN-aaaa", "CNI-aaaa", "CNI-cccc", "CNI-cccc"]);
    }
}
