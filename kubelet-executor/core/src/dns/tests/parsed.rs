//! Answers of any zone to any question are messages that another reader than ours understands.

use std::collections::BTreeSet;

use super::*;

/// A record of a message: name, type, data.
type Parsed = (String, u16, Vec<u8>);

/// Reads a name by RFC 1035, 4.1.4. Returns it with the offset after it.
fn name(message: &[u8], at: usize) -> (String, usize) {
    match message[at] {
        0 => (String::new(), at + 1),
        length if length >= 0xc0 => {
            let target = usize::from(length & 0x3f) << 8 | usize::from(message[at + 1]);
            assert!(target < at, "a pointer leads backwards");
            (name(message, target).0, at + 2)
        }
        length => {
            let end = at + 1 + usize::from(length);
            let label = String::from_utf8(message[at + 1..end].to_vec()).unwrap();
            let (rest, after) = name(message, end);
            (if rest.is_empty() { label } else { format!("{label}.{rest}") }, after)
        }
    }
}

/// The records of the three sections of an answer to one question. Nothing may follow them.
fn sections(message: &[u8]) -> [Vec<Parsed>; 3] {
    let number = |at: usize| usize::from(message[at]) << 8 | usize::from(message[at + 1]);
    assert_eq!(number(4), 1, "one question");
    let mut at = name(message, 12).1 + 4;
    let sections = [6, 8, 10].map(|count| {
        let records = (0..number(count)).map(|_| {
            let (owner, after) = name(message, at);
            let end = after + 10 + number(after + 8);
            at = end;
            (owner, number(after) as u16, message[after + 10..end].to_vec())
        });
        records.collect()
    });
    assert_eq!(at, message.len());
    sections
}

/// What an alias stands for. Its data may have a pointer, so it is looked for in the message.
fn alias_of(message: &[u8], record: &Parsed) -> String {
    let start = message.windows(record.2.len()).rposition(|bytes| bytes == record.2).unwrap();
    name(message, start).0
}

fn names() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|name| format!("{name}.ns.svc.cluster.local"))
}

/// Services, some of which stand for others of them, and endpoints.
fn zones() -> impl Strategy<Value = Zone> {
    let service = prop_oneof![
        names().prop_map(|alias| json!({"type": "ExternalName", "externalName": alias})),
        Just(json!({"type": "ExternalName", "externalName": "www.example.org"})),
        Just(json!({"clusterIP": "10.96.0.7", "ports": [{"name": "p", "port": 80}, {"port": 81}]})),
        Just(json!({"clusterIP": "None"})),
    ];
    let endpoints = prop::collection::vec(any::<u8>(), 0..40);
    (prop::collection::vec(service, 4), endpoints).prop_map(|(specs, endpoints)| {
        let mut services = BTreeMap::new();
        let mut slices = BTreeMap::new();
        for (name, spec) in ["a", "b", "c", "d"].into_iter().zip(specs) {
            let service = json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec});
            let service: Service = serde_json::from_value(service).unwrap();
            services.insert(key(&service.metadata), ServiceNames::of(&service).unwrap());
            let addresses: Vec<Value> =
                endpoints.iter().map(|n| json!({"addresses": [format!("10.244.0.{n}")]})).collect();
            let slice = json!({"metadata": {"namespace": "ns", "name": name,
                "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
                "ports": [{"name": "p", "port": 8080}], "endpoints": addresses});
            let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
            slices.insert(key(&slice.metadata), SliceNames::of(&slice).unwrap());
        }
        Zone::new(&services, &slices, Some([10, 244, 0, 1].into()))
    })
}

fn questions() -> impl Strategy<Value = (String, u16)> {
    let kinds = [kind::A, kind::AAAA, kind::CNAME, kind::SRV, kind::NS, kind::SOA, kind::TXT, kind::ANY];
    let name = prop_oneof![
        4 => names(),
        1 => names().prop_map(|name| format!("_p._tcp.{name}")),
        1 => Just("cluster.local".to_owned()),
        1 => "[a-z.]{1,20}",
    ];
    (name, prop::sample::select(kinds.to_vec()))
}

proptest! {
    #[test]
    fn an_answer_is_a_message_that_follows_the_aliases((zone, (asked, kind)) in (zones(), questions()), max in 128usize..2000) {
        let query = Query::new(1, &asked, kind);
        let Answer::Records { answers, additional } = zone.answer(&query) else { return Ok(()) };
        let found = Sections { answers: &answers, authority: None, additional: &additional };
        let message = query.answer(Code::NoError, found, max);
        prop_assert!(message.len() <= max.max(query.bytes().len()));
        let [read, authority, more] = sections(&message);
        prop_assert!(authority.is_empty());
        // Cut, and said so, exactly if an answer is missing.
        prop_assert_eq!(message[2] & 2 != 0, read.len() < answers.len());
        prop_assert!(read.len() == answers.len() || more.is_empty());
        let mut expected = asked;
        let mut seen = BTreeSet::new();
        for record in &read {
            prop_assert_eq!(&record.0, &expected);
            prop_assert!(seen.insert(record.clone()), "twice: {:?}", record);
            prop_assert!(record.1 == kind || record.1 == kind::CNAME);
            if record.1 == kind::CNAME && kind != kind::CNAME {
                expected = alias_of(&message, record);
            }
        }
        prop_assert!(read.iter().filter(|record| record.1 == kind::CNAME).count() <= 8);
        // An alias within the cluster is told with what it leads to.
        if kind == kind::A && read.len() == answers.len() && !read.is_empty() && expected.ends_with("cluster.local") {
            prop_assert!(read.last().is_some_and(|record| record.1 == kind::A));
        }
        for record in more {
            prop_assert!(matches!(record.1, kind::A | kind::CNAME) && matches!(kind, kind::SRV | kind::NS));
        }
    }

    #[test]
    fn the_weights_of_a_port_are_a_share_each(zone in zones()) {
        for name in ["a", "b", "c", "d"] {
            let query = Query::new(1, &format!("{name}.ns.svc.cluster.local"), kind::SRV);
            let Answer::Records { answers, .. } = zone.answer(&query) else { continue };
            for record in &answers {
                let Data::Srv { weight, .. } = record.data else { panic!("{record:?}") };
                prop_assert_eq!(usize::from(weight), (100 / answers.len()).max(1));
            }
        }
    }
}
