//! Writes OFFERS events in protobuf. They are by far the most numerous and largest events that the master sends, and nearly all
//! offers have plain resources: these are written as they are, without a message in between. The rest is encoded as usual, so that
//! the bytes are those of [`crate::scheduler_event::to_wire`]; a test compares both.

use std::sync::Arc;

use kernel_model::{
    agent::AgentInfo,
    offer::Offer,
    resources::{Attribute, AttributeValue, Resource, Value},
};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::{
    offer::{URL_PATH, URL_SCHEME},
    resources::{self, Format, ResourceForm},
    v1::{scheduler::event, value},
    wirewrite::{put_bytes, put_fixed64, put_varint},
};

/// Bytes of most offers: an agent's addresses, and four resources with a role.
const OFFER_BYTES: usize = 512;

/// What the length of such an offer takes.
const OFFER_LENGTH_BYTES: usize = 2;

/// The bytes of an OFFERS event.
pub(crate) fn encode(offers: &[Arc<Offer>], format: Format) -> Vec<u8> {
    let mut out = Vec::with_capacity(offers.len() * OFFER_BYTES + 16);
    put_varint(1, event::Type::Offers as u64, &mut out);
    let room = encoded_len_varint((offers.len() * OFFER_BYTES) as u64);
    nested_with_room(&mut out, 3, room, |out| {
        for offer in offers {
            nested_with_room(out, 1, OFFER_LENGTH_BYTES, |out| write_offer(out, offer, format));
        }
    });
    out
}

fn write_offer(out: &mut Vec<u8>, offer: &Offer, format: Format) {
    identifier(out, 1, offer.id.as_str());
    identifier(out, 2, offer.framework_id.as_str());
    identifier(out, 3, offer.agent_id.as_str());
    text(out, 4, &offer.agent.hostname);
    for resource in offer.resources.iter() {
        write_resource(out, resource, format);
    }
    for executor in &offer.executor_ids {
        identifier(out, 6, executor.as_str());
    }
    for attribute in &offer.agent.attributes {
        write_attribute(out, attribute);
    }
    nested(out, 8, |out| write_url(out, &offer.agent));
    if format.allocation {
        nested(out, 10, |out| text(out, 1, offer.role.as_str()));
    }
}

fn write_resource(out: &mut Vec<u8>, resource: &Resource, format: Format) {
    const NUMBER: u32 = 5;
    let Resource { name, value, allocation_role, reservations, disk, revocable, shared, provider_id } =
        resource;
    if !reservations.is_empty() || disk.is_some() || *shared || provider_id.is_some() {
        message(out, NUMBER, &resources::resource_to_wire(resource, format));
        return;
    }
    nested(out, NUMBER, |out| {
        text(out, 1, name);
        match value {
            Value::Scalar(amount) => {
                put_varint(2, value::Type::Scalar as u64, out);
                nested(out, 3, |out| put_fixed64(1, amount.as_f64().to_bits(), out));
            }
            Value::Ranges(ranges) => {
                put_varint(2, value::Type::Ranges as u64, out);
                nested(out, 4, |out| {
                    for &(begin, end) in ranges.pairs() {
                        nested(out, 1, |out| {
                            put_varint(1, begin, out);
                            put_varint(2, end, out);
                        });
                    }
                });
            }
            Value::Set(items) => {
                put_varint(2, value::Type::Set as u64, out);
                nested(out, 5, |out| items.iter().for_each(|item| text(out, 1, item)));
            }
        }
        if format.form != ResourceForm::Post {
            text(out, 6, "*");
        }
        if *revocable {
            nested(out, 9, |_| {});
        }
        if let Some(role) = allocation_role.as_ref().filter(|_| format.allocation) {
            nested(out, 11, |out| text(out, 1, role.as_str()));
        }
    });
}

fn write_attribute(out: &mut Vec<u8>, attribute: &Attribute) {
    const NUMBER: u32 = 7;
    let AttributeValue::Text(of) = &attribute.value else {
        message(out, NUMBER, &resources::attribute_to_wire(attribute));
        return;
    };
    nested(out, NUMBER, |out| {
        text(out, 1, &attribute.name);
        put_varint(2, value::Type::Text as u64, out);
        nested(out, 5, |out| text(out, 1, of));
    });
}

fn write_url(out: &mut Vec<u8>, agent: &AgentInfo) {
    text(out, 1, URL_SCHEME);
    nested(out, 2, |out| {
        text(out, 1, &agent.hostname);
        text(out, 2, &agent.ip);
        put_varint(3, u64::from(agent.port), out);
    });
    text(out, 3, URL_PATH);
}

fn text(out: &mut Vec<u8>, field: u32, text: &str) {
    put_bytes(field, text.as_bytes(), out);
}

/// A message with one string, as all identifiers are.
fn identifier(out: &mut Vec<u8>, field: u32, of: &str) {
    nested(out, field, |out| text(out, 1, of));
}

fn message(out: &mut Vec<u8>, field: u32, message: &impl prost::Message) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(message.encoded_len() as u64, out);
    message.encode_raw(out);
}

/// A nested message of less than 128 bytes, as most are. A longer one is moved for its length.
fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    nested_with_room(out, field, 1, write);
}

/// A nested message whose length most likely takes `room` bytes; if not, the message is moved.
fn nested_with_room(out: &mut Vec<u8>, field: u32, room: usize, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(field, WireType::LengthDelimited, out);
    let mark = out.len();
    out.resize(mark + room, 0);
    write(out);
    let length = (out.len() - mark - room) as u64;
    let taken = encoded_len_varint(length);
    if taken != room {
        out.splice(mark..mark + room, std::iter::repeat_n(0, taken));
    }
    encode_varint(length, &mut &mut out[mark..mark + taken]);
}
