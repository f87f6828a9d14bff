//! Questions about the packet filter, asked of the kernel itself. The program `nft` first loads every set and rule of the machine
//! to answer one, which takes seconds where there are thousands of Services.

use std::io::{Error, ErrorKind, Result};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{NETFILTER, SocketAddrNetlink},
    recv, sendto, socket_with, sockopt,
};

/// Length of the header of a message, and of the packet filter's header after it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// The types of messages: the end of a list, an error, and the packet filter's (its number is 10) for listing rules and for one rule.
const DONE: u16 = 3;
const ERROR: u16 = 2;
const NEW_RULE: u16 = 10 << 8 | 6;
const GET_RULE: u16 = 10 << 8 | 7;
/// A request for a list.
const REQUEST_DUMP: u16 = 0x301;
/// The family of the table, IPv4.
const IPV4: u8 = 2;
/// The attributes that limit a list of rules to a chain.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
/// The longest name of a table or chain, with its end.
const NAME_MAX: usize = 256;
/// More than the kernel puts into one datagram of a list.
const DATAGRAM_MAX: usize = 64 * 1024;
/// How long the kernel may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// The number of rules in a chain of an IPv4 table; 0 if there is no such chain.
///
/// # Errors
/// The kernel refuses, or has no nftables.
pub(crate) fn count_rules(table: &str, chain: &str) -> Result<usize> {
    let question = question(table, chain)?;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))?;
    sendto(&socket, &question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let (mut buffer, mut rules) = (vec![0; DATAGRAM_MAX], 0);
    loop {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let (found, is_last) = read(&buffer[..length])?;
        rules += found;
        if is_last {
            return Ok(rules);
        }
    }
}

/// The message that asks for the rules of a chain.
fn question(table: &str, chain: &str) -> Result<Vec<u8>> {
    let mut body = vec![IPV4, 0, 0, 0];
    for (kind, name) in [(TABLE, table), (CHAIN, chain)] {
        if name.len() >= NAME_MAX || name.contains('\0') {
            return Err(ErrorKind::InvalidInput.into());
        }
        // The length counts the attribute's header and the end of the text; the next attribute begins at a multiple of four.
        body.extend(((4 + name.len() + 1) as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(name.as_bytes());
        body.push(0);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend([GET_RULE, REQUEST_DUMP].into_iter().flat_map(u16::to_ne_bytes));
    // Number and sender: there is one question, and the kernel knows its socket.
    message.extend([0; 8]);
    message.extend(body);
    Ok(message)
}

/// The rules in a datagram, and whether it ends the list.
fn read(mut datagram: &[u8]) -> Result<(usize, bool)> {
    let mut rules = 0;
    while !datagram.is_empty() {
        let (length, kind) = header(datagram).ok_or(ErrorKind::InvalidData)?;
        let message = datagram.get(..length).filter(|_| length >= HEADER).ok_or(ErrorKind::InvalidData)?;
        match kind {
            DONE => return Ok((rules, true)),
            ERROR => {
                let code = message.get(HEADER..HEADER + 4).ok_or(ErrorKind::InvalidData)?;
                let code = i32::from_ne_bytes(code.try_into().map_err(Error::other)?);
                return Err(Error::from_raw_os_error(code.saturating_neg()));
            }
            NEW_RULE if length >= HEADER + FAMILY_HEADER => rules += 1,
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((rules, false))
}

/// Length and type of the next message.
fn header(datagram: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
    Some((usize::try_from(length).ok()?, kind))
}

#[cfg(test)]
mod tests {
    //! Messages as the kernel writes them, and a question to this machine's.

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn rules_are_counted_until_the_end_of_the_list() {
        let rule = message(NEW_RULE, &[IPV4, 0, 0, 0, 7]);
        let other = message(NEW_RULE - 6, &[IPV4, 0, 0, 0]);
        let done = message(DONE, &[0; 4]);
        assert_eq!(read(&[rule.clone(), other, rule.clone()].concat()).unwrap(), (2, false));
        assert_eq!(read(&[rule.clone(), done.clone()].concat()).unwrap(), (1, true));
        assert_eq!(read(&done).unwrap(), (0, true));
        let refused = read(&message(ERROR, &(-1i32).to_ne_bytes())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        for cut in 1..rule.len() - 3 {
            assert_eq!(read(&rule[..cut]).unwrap_err().kind(), ErrorKind::InvalidData, "{cut} bytes");
        }
        assert_eq!(
            read(&[0; HEADER]).unwrap_err().kind(),
            ErrorKind::InvalidData,
            "a message without length"
        );
    }

    #[test]
    fn a_question_names_table_and_chain() {
        let asked = question("t", "services").unwrap();
        assert_eq!(asked.len(), HEADER + FAMILY_HEADER + 8 + 16);
        assert_eq!(header(&asked), Some((asked.len(), GET_RULE)));
        assert_eq!(
            &asked[HEADER + FAMILY_HEADER..][..8],
            [6u16.to_ne_bytes(), TABLE.to_ne_bytes(), *b"t\0", [0; 2]].concat()
        );
        assert_eq!(&asked[HEADER + FAMILY_HEADER + 12..][..9], b"services\0");
        for name in ["n".repeat(NAME_MAX), "a\0b".to_owned()] {
            assert_eq!(question(&name, "c").unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_kernel_knows_no_chain_of_that_name() {
        match count_rules("catamaran-none", "none") {
            Ok(rules) => assert_eq!(rules, 0),
            // Not everybody may ask, and not every kernel has nftables.
            Err(error) => assert_ne!(error.kind(), ErrorKind::InvalidData, "{error}"),
        }
    }
}
