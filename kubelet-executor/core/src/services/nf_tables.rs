//! The kernel's messages about rules of nftables (`linux/netfilter/nf_tables.h`).

use super::netlink::{Wanted, push_attribute, request};

/// A rule in a list.
pub const NEW_RULE: u16 = 0x0a06;
const GET_RULE: u16 = 0x0a07;
/// The attributes that limit a list of rules to a chain.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
/// The longest name of a table or chain, with its end.
const NAME_MAX: usize = 256;

/// Asks for the rules in a chain of an IPv4 table. `None` if these are no names.
pub fn list_rules(table: &str, chain: &str) -> Option<Vec<u8>> {
    let mut attributes = Vec::new();
    for (kind, name) in [(TABLE, table), (CHAIN, chain)] {
        if name.len() >= NAME_MAX || name.contains('\0') {
            return None;
        }
        push_attribute(&mut attributes, kind, &[name.as_bytes(), &[0]].concat());
    }
    Some(request(GET_RULE, Wanted::List, &attributes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::netlink::{Attributes, Replies, Reply};

    #[test]
    fn a_question_names_table_and_chain() {
        let asked = list_rules("t", "services").expect("names");
        let Some(Ok(Reply::Message(GET_RULE, attributes))) = Replies(&asked).next() else {
            panic!("{asked:?}")
        };
        let attributes: Vec<_> = Attributes(attributes).map(|(kind, _, value)| (kind, value)).collect();
        assert_eq!(attributes, [(TABLE, &b"t\0"[..]), (CHAIN, &b"services\0"[..])]);
        for name in ["n".repeat(NAME_MAX), "a\0b".to_owned()] {
            assert_eq!(list_rules(&name, "c"), None);
        }
    }
}
