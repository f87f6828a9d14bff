//! A small ZooKeeper client: the few requests with which masters announce themselves and are found, and with which the state of
//! frameworks on Mesos' Java library is kept.
//!
//! [`codec`] is pure: requests to bytes, bytes to replies. [`session`] holds one connection, keeps it alive and ends with it;
//! its user connects again. What a general client has besides (resumed sessions, transactions, ACLs, TLS, SASL) is not here.

pub mod codec;
pub mod session;
