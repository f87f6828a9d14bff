//! Writes one or many objects in the negotiated shape: as they are (copied slices), as a Table, or as metadata only.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shim_core::definition::ResourceDefinition;
use shim_model::access;
use shim_model::resource::Resource;
use shim_model::schema::Media;
use shim_model::status::{self, Status};
use shim_model::table::{self, IncludeObject};

use super::body::Response;
use super::list_body::ListBody;
use super::negotiation::{Accepted, Shape};
use super::{messages, reply};
use crate::request::query::Query;
use crate::storage::catalog::ServedResource;
use crate::storage::object::{Object, set_resource_version, write_resource_version};
use crate::storage::registry::now;

/// The `includeObject` parameter: what of the object a table row contains.
pub fn include_object(query: &Query) -> Result<IncludeObject, Status> {
    let text = query.text("includeObject");
    IncludeObject::parse(text).ok_or_else(|| {
        status::bad_request(format!(
            "unrecognized includeObject value: {}",
            shim_model::go_quote::go_quote(text)
        ))
    })
}

/// Responds with one object.
pub async fn one(
    code: u16,
    resource: &ServedResource,
    accepted: Accepted,
    query: &Query,
    object: &Arc<Object>,
) -> Result<Response, Status> {
    if accepted.shape == Shape::Object && accepted.media == Media::Json && resource.is_stored_version() {
        return Ok(reply::json(code, object.served()));
    }
    if accepted.shape == Shape::Object && accepted.media == Media::Protobuf && resource.is_stored_version() {
        return messages::one(code, resource, object);
    }
    one_value(code, resource, accepted, query, resource.decode(object).await?)
}

/// Responds with one decoded object, whose resourceVersion is set.
pub fn one_value(
    code: u16,
    resource: &ResourceDefinition,
    accepted: Accepted,
    query: &Query,
    object: Value,
) -> Result<Response, Status> {
    let shaped = match accepted.shape {
        Shape::Object => object,
        Shape::Metadata => {
            let mut object = object;
            drop_field_annotation(resource, &mut object);
            table::partial_object_metadata(object)
        }
        Shape::Table => {
            let include = include_object(query)?;
            let version = object["metadata"].get("resourceVersion");
            let metadata = version.map_or_else(|| json!({}), |version| json!({"resourceVersion": version}));
            let row = row_of(resource, object, include);
            table::table(Some(&resource.columns), vec![row], metadata)
        }
        Shape::MetadataList => {
            let message = format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{})",
                internal_type(resource)
            );
            return Err(Status::failure(406, "NotAcceptable", message));
        }
    };
    Ok(reply::value(code, accepted.media, &in_version(accepted, shaped)))
}

/// Gives a table, or the metadata of objects, the version of the shape that was asked for.
fn in_version(accepted: Accepted, mut value: Value) -> Value {
    if !accepted.is_beta {
        return value;
    }
    let beta = |value: &mut Value| {
        if value["apiVersion"] == "meta.k8s.io/v1" {
            value["apiVersion"] = "meta.k8s.io/v1beta1".into();
        }
    };
    beta(&mut value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        beta(item);
    }
    for row in value.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        row.get_mut("object").into_iter().for_each(beta);
    }
    value
}

/// The metadata of a list.
#[derive(Clone, Debug, Default)]
pub struct ListMeta {
    /// The revision of the list.
    pub revision: u64,
    /// The continue token of the next page; empty on the last page.
    pub continue_token: String,
    /// The number of remaining objects, if known.
    pub remaining: Option<u64>,
}

impl ListMeta {
    /// The `metadata` of the list.
    pub fn to_value(&self) -> Value {
        let mut out = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            out["continue"] = self.continue_token.as_str().into();
            if let Some(remaining) = self.remaining {
                out["remainingItemCount"] = remaining.into();
            }
        }
        out
    }
}

/// Responds with a list.
pub async fn many(
    resource: &ServedResource,
    accepted: Accepted,
    query: &Query,
    items: Vec<Arc<Object>>,
    meta: &ListMeta,
) -> Result<Response, Status> {
    let list = match accepted.shape {
        Shape::Object if resource.is_stored_version() && accepted.media == Media::Protobuf => {
            return messages::many(resource, items, meta);
        }
        Shape::Object if resource.is_stored_version() => {
            let list = list_body(resource, items, meta);
            return Ok(match accepted.media {
                Media::Json => {
                    let mut response = reply::json(200, Bytes::new());
                    *response.body_mut() = list.boxed_unsync();
                    response
                }
                Media::Yaml | Media::Protobuf => reply::bytes(200, accepted.media, list.into_bytes()),
            });
        }
        Shape::Object => {
            let items = resource.decode_all(&items).await?;
            let items: Vec<Value> = match resource.custom {
                Some(_) => items,
                None => items.into_iter().map(without_type).collect(),
            };
            let metadata = list_metadata(resource, meta);
            json!({"kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items})
        }
        Shape::Table => {
            let include = include_object(query)?;
            let items = resource.decode_all(&items).await?;
            let rows = items.into_iter().map(|object| row_of(resource, object, include)).collect();
            let mut out = table::table(Some(&resource.columns), rows, meta.to_value());
            if resource.custom.is_none() && table::are_default(&resource.columns) {
                // Upstream's printer for kinds without columns of their own makes no list before the first row.
                null_if_empty(&mut out, "rows");
            }
            out
        }
        Shape::MetadataList => {
            let items: Vec<Value> = items
                .iter()
                .map(|o| {
                    serde_json::from_slice(&partial(resource, o, o.revision))
                        .expect("invariant: what this server encodes is JSON")
                })
                .collect();
            let mut out = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta.to_value(), "items": items});
            null_if_empty(&mut out, "items");
            out
        }
        Shape::Metadata => return Err(is_a_list(resource)),
    };
    Ok(reply::value(200, accepted.media, &in_version(accepted, list)))
}

fn is_a_list(resource: &Resource) -> Status {
    let message = format!(
        "you requested PartialObjectMetadata, but the requested object is a list (*{}List)",
        internal_type(resource)
    );
    Status::failure(406, "NotAcceptable", message)
}

/// Responds with a list of objects that are not stored, and so have no resourceVersion.
pub fn many_unstored(
    resource: &ResourceDefinition,
    accepted: Accepted,
    query: &Query,
    items: Vec<Value>,
) -> Result<Response, Status> {
    let list = match accepted.shape {
        Shape::Object => {
            let items: Vec<Value> = items.into_iter().map(without_type).collect();
            json!({"kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": {}, "items": items})
        }
        Shape::Table => {
            let include = include_object(query)?;
            let rows = items.into_iter().map(|object| row_of(resource, object, include)).collect();
            table::table(Some(&resource.columns), rows, json!({}))
        }
        Shape::MetadataList => {
            let items: Vec<Value> = items.into_iter().map(table::partial_object_metadata).collect();
            let mut out = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {}, "items": items});
            null_if_empty(&mut out, "items");
            out
        }
        Shape::Metadata => return Err(is_a_list(resource)),
    };
    Ok(reply::value(200, accepted.media, &in_version(accepted, list)))
}

/// The table row of an object in the served version.
pub fn row_of(resource: &ResourceDefinition, object: Value, include: IncludeObject) -> Value {
    let cells = resource.strategy().cells(&object, now());
    let conditions = resource.strategy().row_conditions(&object);
    let mut object = object;
    if include == IncludeObject::Metadata {
        drop_field_annotation(resource, &mut object);
    }
    let mut row = table::row(cells, object, include);
    if let Some(conditions) = conditions {
        row["conditions"] = conditions;
    }
    row
}

/// Removes the annotation that upstream's internal type has as a field, and with it empty annotations.
fn drop_field_annotation(resource: &ResourceDefinition, object: &mut Value) {
    let Some(key) = resource.field_annotation() else { return };
    access::remove(object, &["metadata", "annotations", key]);
    if access::get(object, &["metadata", "annotations"]).is_some_and(access::is_zero) {
        access::remove(object, &["metadata", "annotations"]);
    }
}

/// The PartialObjectMetadata of an object: copies the metadata and skips the rest.
pub fn partial(resource: &ResourceDefinition, object: &Object, revision: u64) -> Bytes {
    if resource.field_annotation().is_some() {
        let mut value = object.value();
        drop_field_annotation(resource, &mut value);
        set_resource_version(&mut value, revision);
        return table::partial_object_metadata(value).to_string().into();
    }
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let metadata = serde_json::from_slice::<Outer>(object.bytes()).map_or("{}", |o| o.metadata.get());
    let mut out = BytesMut::with_capacity(metadata.len() + 128);
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{",
    );
    write_resource_version(revision, &mut out);
    let members = &metadata.as_bytes()[1..];
    if members.first() != Some(&b'}') {
        out.put_u8(b',');
    }
    out.extend_from_slice(members);
    out.put_u8(b'}');
    out.freeze()
}

fn list_body(resource: &Resource, items: Vec<Arc<Object>>, meta: &ListMeta) -> ListBody {
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
        resource.list_kind,
        resource.api_version(),
        list_metadata(resource, meta)
    );
    ListBody::new(head, items)
}

/// The metadata of a list of whole objects. As upstream, those of custom resources always have a `continue`.
fn list_metadata(resource: &Resource, meta: &ListMeta) -> Value {
    let mut metadata = meta.to_value();
    if resource.custom.is_some() && meta.continue_token.is_empty() {
        metadata["continue"] = "".into();
    }
    metadata
}

fn without_type(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.remove("apiVersion");
        members.remove("kind");
    }
    object
}

fn null_if_empty(list: &mut Value, member: &str) {
    if list[member].as_array().is_some_and(Vec::is_empty) {
        list[member] = Value::Null;
    }
}

/// Upstream's internal type name, such as `core.Secret`.
fn internal_type(resource: &Resource) -> String {
    let package = match resource.group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(first) => first,
    };
    format!("{package}.{}", resource.kind)
}
