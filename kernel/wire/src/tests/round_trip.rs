//! JSON round trips: of what clients may send, and of every message with arbitrary content.

use expect_test::expect;
use proptest::prelude::*;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Value as Field, prost::Message,
};
use serde_json::Value;

use crate::{
    codec::{ContentType, decode, descriptor, encode},
    json,
    v1::scheduler::Call,
};

/// JSON with keys of calls, also in places where they do not belong.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "ACCEPT",
            "SUBSCRIBE",
            "LAUNCH",
            "SCALAR",
            "aGk=",
            "12",
            "Infinity",
            "ü",
            ""
        ])
        .prop_map(Value::from),
    ];
    let keys = vec![
        "type",
        "framework_id",
        "value",
        "subscribe",
        "framework_info",
        "user",
        "name",
        "accept",
        "offer_ids",
        "operations",
        "launch",
        "task_infos",
        "task_id",
        "agent_id",
        "resources",
        "scalar",
        "filters",
        "refuse_seconds",
        "kill",
        "message",
        "executor_id",
        "data",
        "labels",
        "key",
        "offer_filters",
        "capabilities",
        "unknown",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(keys.clone()), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// The message with the declared defaults of unset fields, unless deprecated.
fn with_defaults(mut message: DynamicMessage) -> DynamicMessage {
    let nested = |value: &mut Field| {
        if let Field::Message(inner) = value {
            *inner = with_defaults(inner.clone());
        }
    };
    for field in message.descriptor().fields() {
        let proto = field.field_descriptor_proto();
        let deprecated = proto.options.as_ref().is_some_and(|options| options.deprecated());
        if message.has_field(&field) {
            match message.get_field_mut(&field) {
                Field::List(items) => items.iter_mut().for_each(nested),
                Field::Map(entries) => entries.values_mut().for_each(nested),
                single => nested(single),
            }
        } else if proto.default_value.is_some() && !deprecated {
            message.set_field(&field, field.default_value());
        }
    }
    message
}

fn dynamic(call: &Call) -> DynamicMessage {
    let bytes = encode(ContentType::Protobuf, call);
    DynamicMessage::decode(descriptor::<Call>(), bytes).expect("our own encoding")
}

/// Generates a message from bytes; when they are used up, a minimal one.
struct MessageGenerator<'a>(std::slice::Iter<'a, u8>);

impl MessageGenerator<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn message(&mut self, descriptor: MessageDescriptor, depth: u8) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            let wanted = depth < 8 && self.byte() % 3 == 1;
            if wanted || field.cardinality() == Cardinality::Required {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: u8) -> Field {
        let count = 1 + self.byte() % 2;
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let kind = entry.map_entry_value_field().kind();
            let entry = |n| (MapKey::String(format!("k{n}")), self.value(kind.clone(), depth));
            Field::Map((0..count).map(entry).collect())
        } else if field.is_list() {
            Field::List((0..count).map(|_| self.value(field.kind(), depth)).collect())
        } else {
            self.value(field.kind(), depth)
        }
    }

    fn value(&mut self, kind: Kind, depth: u8) -> Field {
        let (sign, size) = (self.byte(), self.byte() % 64);
        let number = (u64::from(sign) << 56 | u64::from(self.byte())) >> size;
        match kind {
            Kind::Message(inner) => Field::Message(self.message(inner, depth + 1)),
            Kind::Enum(names) => {
                let at = usize::from(sign) % names.values().len();
                Field::EnumNumber(names.values().nth(at).expect("it is one of them").number())
            }
            Kind::String => {
                Field::String(["", "a", "\"\\\u{0}", "ü\u{1f600}"][usize::from(sign) % 4].to_owned())
            }
            Kind::Bytes => Field::Bytes((0..sign % 5).collect::<Vec<u8>>().into()),
            Kind::Bool => Field::Bool(sign % 2 == 1),
            // Few digits: with seventeen, serde_json's parser may be off by the last bit.
            Kind::Double => {
                Field::F64([(number >> 24) as f64 / 8.0, -0.0, f64::INFINITY][usize::from(size) % 3])
            }
            Kind::Float => Field::F32((number >> 48) as f32 / 8.0),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(number as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(number as i64),
            Kind::Uint32 | Kind::Fixed32 => Field::U32(number as u32),
            Kind::Uint64 | Kind::Fixed64 => Field::U64(number),
        }
    }
}

/// Every message type except map entries.
fn messages() -> Vec<MessageDescriptor> {
    let pool = descriptor::<Call>().parent_pool().clone();
    let ours = |m: &MessageDescriptor| m.full_name().starts_with("mesos.") && !m.is_map_entry();
    pool.all_messages().filter(ours).collect()
}

/// Unset fields with a declared default are set after a round trip, as in Mesos' JSON; nothing else changes.
#[test]
fn declared_defaults_round_trip() {
    let call: Call = decode(ContentType::Json, &r#"{"accept":{"filters":{}}}"#.into()).expect("a call");
    let text = encode(ContentType::Json, &call);
    expect![[r#"{"accept":{"filters":{"refuse_seconds":5.0}}}"#]]
        .assert_eq(std::str::from_utf8(&text).expect("we print UTF-8"));
    let again: Call = decode(ContentType::Json, &text).expect("our own encoding");
    assert_ne!(again, call);
    assert!(dynamic(&again) == with_defaults(dynamic(&call)), "{again:?}");
}

proptest! {
    #[test]
    fn accepted_json_round_trips(value in json()) {
        let Ok(call) = decode::<Call>(ContentType::Json, &value.to_string().into()) else { return Ok(()) };
        let again: Call = decode(ContentType::Protobuf, &encode(ContentType::Protobuf, &call)).expect("our own encoding");
        prop_assert_eq!(&again, &call);
        let again: Call = decode(ContentType::Json, &encode(ContentType::Json, &call)).expect("our own encoding");
        prop_assert!(dynamic(&again) == with_defaults(dynamic(&call)), "{:?} of {:?}", again, call);
        let _ = crate::scheduler_call::from_wire(call);
    }

    #[test]
    fn every_message_round_trips(which in any::<prop::sample::Index>(), drawn in prop::collection::vec(any::<u8>(), 0..300)) {
        let messages = messages();
        let descriptor = which.get(&messages);
        let bytes = MessageGenerator(drawn.iter()).message(descriptor.clone(), 0).encode_to_vec();
        // Compared after decoding: an explicit zero is generated like an unset field.
        let message = DynamicMessage::decode(descriptor.clone(), &bytes[..]).expect("it was encoded");
        let text = json::print(descriptor, &bytes).expect("encoded above");
        let value: Value = serde_json::from_str(&text).expect("we print JSON");
        let bytes = json::encode_value(descriptor, &value).expect("what is printed can be read");
        let again = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).expect("our own encoding");
        prop_assert!(again == with_defaults(message), "{}", text);
    }
}
