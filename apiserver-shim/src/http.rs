//! Everything that is HTTP, one file per concern. Reading order: [`request_info`] says what a request is about,
//! [`negotiation`] in which form the answer goes out, [`objects`] carries out the verbs, [`list`] and [`watch`] show
//! collections, [`shapes`] and [`reply`] write the answer.

pub mod audit;
pub mod body;
pub mod discovery;
pub mod health;
pub mod list;
mod list_body;
pub mod negotiation;
pub mod node_proxy;
pub mod objects;
pub mod openapi;
pub mod pretty;
pub mod query;
pub mod reply;
pub mod request_info;
pub mod service;
pub mod shapes;
pub mod subresources;
pub mod version;
pub mod watch;
pub mod websocket;
