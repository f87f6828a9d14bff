//! Storage of API objects: the catalog of resources, the registry with its watch caches, and state derived from
//! stored objects.

pub mod catalog;
pub mod deletion;
pub mod encryption;
pub mod followed_index;
pub mod object;
pub mod pod_cidrs;
pub mod pod_views;
pub mod preconditions;
pub mod registry;
pub mod selection;
pub mod service_addresses;
pub mod watch_cache;
