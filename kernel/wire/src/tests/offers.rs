//! The bytes of OFFERS events: those of the message.

use std::{collections::BTreeSet, sync::Arc};

use kernel_model::{
    agent::AgentInfo,
    labels::Labels,
    offer::Offer,
    resources::{
        Attribute, AttributeValue, Disk, Persistence, Ranges, Reservation, ReservationKind, Resource,
        Resources, Scalar, Value,
    },
    roles::Role,
    scheduler::Event,
};
use proptest::prelude::*;

use crate::{
    codec::{self, ContentType},
    resources::{Format, ResourceForm},
    scheduler_event,
};

/// Short texts, and such that lengths need two bytes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z]{0,8}", 1 => "[a-z]{120,140}"]
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec!["*", "a", "a/b"]).prop_map(|role| Role::parse(role).unwrap())
}

fn ranges() -> impl Strategy<Value = Ranges> {
    prop::collection::vec((0..1_000u64, 0..70_000u64), 0..12)
        .prop_map(|pairs| Ranges::new(pairs.into_iter().map(|(begin, length)| (begin, begin + length))))
}

fn scalar() -> impl Strategy<Value = Scalar> {
    (0..10_000_000u32).prop_map(|thousandths| Scalar::from_f64(f64::from(thousandths) / 1000.0))
}

fn resource() -> impl Strategy<Value = Resource> {
    let value = prop_oneof![
        scalar().prop_map(Value::Scalar),
        ranges().prop_map(Value::Ranges),
        prop::collection::btree_set(text(), 0..4).prop_map(|items: BTreeSet<String>| Value::Set(items)),
    ];
    let reservation =
        (role(), any::<bool>(), prop::option::of(text())).prop_map(|(role, dynamic, principal)| {
            let kind = if dynamic { ReservationKind::Dynamic } else { ReservationKind::Static };
            Reservation { kind, role, principal, labels: Labels::default() }
        });
    let disk = text().prop_map(|id| {
        let persistence = Some(Persistence { id, principal: None });
        Arc::new(Disk { source: None, persistence, volume: None })
    });
    let rare = (
        prop::collection::vec(reservation, 0..3),
        prop::option::weighted(0.2, disk),
        prop::option::weighted(0.2, text()),
        prop::bool::weighted(0.2),
    );
    (text(), value, prop::option::of(role()), any::<bool>(), prop::bool::weighted(0.5), rare).prop_map(
        |(name, value, allocation_role, revocable, plain, rare)| {
            let (reservations, disk, provider_id, shared) = rare;
            let resource = Resource { allocation_role, revocable, ..Resource::new(&name, value) };
            if plain { resource } else { Resource { reservations, disk, provider_id, shared, ..resource } }
        },
    )
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value = prop_oneof![
        text().prop_map(AttributeValue::Text),
        scalar().prop_map(AttributeValue::Scalar),
        ranges().prop_map(AttributeValue::Ranges),
        prop::collection::vec(text(), 0..3).prop_map(AttributeValue::Set),
    ];
    (text(), value).prop_map(|(name, value)| Attribute { name, value })
}

fn agent() -> impl Strategy<Value = AgentInfo> {
    (text(), text(), any::<u16>(), prop::collection::vec(attribute(), 0..4)).prop_map(
        |(hostname, ip, port, attributes)| AgentInfo {
            id: None,
            hostname,
            ip,
            port,
            resources: Resources::new(),
            attributes,
            runs_images: false,
            operations: Default::default(),
        },
    )
}

fn offer() -> impl Strategy<Value = Arc<Offer>> {
    let ids = (text(), text(), text(), prop::collection::vec(text(), 0..3));
    (ids, agent(), role(), prop::collection::vec(resource(), 0..5)).prop_map(
        |((id, framework, agent_id, executors), agent, role, resources)| {
            Arc::new(Offer {
                id: id.into(),
                framework_id: framework.into(),
                agent_id: agent_id.into(),
                agent: agent.into(),
                role,
                resources: resources.into_iter().collect(),
                executor_ids: executors.into_iter().map(Into::into).collect(),
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn offers_are_written_as_their_message(
        offers in prop::collection::vec(offer(), 0..4),
        form in prop::sample::select(vec![ResourceForm::Post, ResourceForm::Pre, ResourceForm::Endpoint]),
        allocation in any::<bool>(),
    ) {
        let format = Format { form, allocation };
        let event = Event::Offers { offers };
        let message = scheduler_event::to_wire(&event, format);
        for content in [ContentType::Protobuf, ContentType::Json] {
            let written = scheduler_event::encode(content, &event, format);
            prop_assert_eq!(written, codec::encode(content, &message));
        }
    }
}
