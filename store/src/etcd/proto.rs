//! The generated messages and clients of `proto/etcd.proto`.

#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

tonic::include_proto!("etcdserverpb");
