//! Asks the kernel about its packet filter. The program `nft` first loads every set and rule of the machine to answer a question,
//! which takes seconds where there are thousands of Services.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::time::Duration;

use executor_core::services::netlink::{Replies, Reply};
use executor_core::services::nf_tables::{self, NEW_RULE};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{NETFILTER, SocketAddrNetlink},
    recv, sendto, socket_with, sockopt,
};

/// More than the kernel puts into one datagram of a list.
const DATAGRAM_MAX: usize = 64 * 1024;
/// How long the kernel may take for a datagram. It answers at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The number of rules in a chain of an IPv4 table; 0 if there is no such chain.
///
/// # Errors
/// The kernel refuses, or has no nftables.
pub(crate) fn count_rules(table: &str, chain: &str) -> Result<usize> {
    let question = nf_tables::list_rules(table, chain).ok_or(ErrorKind::InvalidInput)?;
    let mut rules = 0;
    Netfilter::open()?.ask(&question, |kind, _| rules += usize::from(kind == NEW_RULE))?;
    Ok(rules)
}

/// A connection to the kernel's packet filter.
pub(super) struct Netfilter(OwnedFd);

impl Netfilter {
    pub fn open() -> Result<Netfilter> {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))?;
        Ok(Netfilter(socket))
    }

    /// Sends a request, and passes on type and attributes of each message until its end.
    pub fn ask(&self, request: &[u8], mut take: impl FnMut(u16, &[u8])) -> Result<()> {
        sendto(&self.0, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let (length, _) = recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
            for reply in Replies(&buffer[..length]) {
                match reply.map_err(|error| Error::new(ErrorKind::InvalidData, error))? {
                    Reply::Message(kind, attributes) => take(kind, attributes),
                    Reply::Done | Reply::Outcome(0) => return Ok(()),
                    Reply::Outcome(code) => return Err(Error::from_raw_os_error(code)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! A question to this machine's kernel.

    use super::*;

    #[test]
    fn the_kernel_knows_no_chain_of_that_name() {
        match count_rules("catamaran-none", "none") {
            Ok(rules) => assert_eq!(rules, 0),
            // Not everybody may ask, and not every kernel has nftables.
            Err(error) => assert_ne!(error.kind(), ErrorKind::InvalidData, "{error}"),
        }
    }
}
