//! Questions and answers of the cluster's domain.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    message::{Code, Data, Query, Record, Sections, kind, read_answer, rotate},
    zone::{Answer, ServiceNames, SliceNames, Zone},
};
use crate::services::routes::key;

mod parsed;

/// An answer with these records alone.
fn only(answers: &[Record]) -> Sections<'_> {
    Sections { answers, ..Sections::default() }
}

fn zone() -> Zone {
    let service =
        |name: &str, spec: Value| json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec});
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "dns", "protocol": "UDP", "port": 53}, {"port": 1}]);
    let services = json!([
        service("web", json!({"clusterIP": "10.96.0.7", "ports": ports})),
        service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})),
        service("out", json!({"type": "ExternalName", "externalName": "Www.Example.org."})),
        service("in", json!({"type": "ExternalName", "externalName": "web.ns.svc.cluster.local"})),
        service("twice", json!({"type": "ExternalName", "externalName": "in.ns.svc.cluster.local"})),
        service("far", json!({"type": "ExternalName", "externalName": "out.ns.svc.cluster.local"})),
        service("round", json!({"type": "ExternalName", "externalName": "about.ns.svc.cluster.local"})),
        service("about", json!({"type": "ExternalName", "externalName": "round.ns.svc.cluster.local"})),
        service("dangling", json!({"type": "ExternalName", "externalName": "none.ns.svc.cluster.local"})),
        service("address", json!({"type": "ExternalName", "externalName": "192.0.2.1"})),
    ]);
    let slice = |service: &str, endpoints: Value| {
        json!({"metadata": {"namespace": "ns", "name": format!("{service}-x"),
            "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
            "ports": [{"name": "sql", "port": 5433}], "endpoints": endpoints})
    };
    let slices = json!([
        slice(
            "db",
            json!([
                {"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.3"], "conditions": {}},
                {"addresses": ["10.244.0.4"], "conditions": {"ready": false}},
            ])
        ),
        slice("web", json!([{"addresses": ["10.244.0.5"]}])),
    ]);
    let services: Vec<Service> = serde_json::from_value(services).unwrap();
    let slices: Vec<EndpointSlice> = serde_json::from_value(slices).unwrap();
    let services: BTreeMap<_, _> =
        services.iter().filter_map(|s| Some((key(&s.metadata), ServiceNames::of(s)?))).collect();
    let slices: BTreeMap<_, _> =
        slices.iter().filter_map(|s| Some((key(&s.metadata), SliceNames::of(s)?))).collect();
    Zone::new(&services, &slices, Some([10, 244, 0, 1].into()))
}

fn check(questions: &[(&str, u16)], expected: Expect) {
    let zone = zone();
    let text: String = questions
        .iter()
        .map(|(name, kind)| {
            let shown = match zone.answer(&Query::new(1, name, *kind)) {
                Answer::NoName => "no name".to_owned(),
                Answer::Elsewhere => "elsewhere".to_owned(),
                Answer::Records { answers, additional } => {
                    let one = |record: &Record| format!("{} {:?}", record.name, record.data);
                    let all = |records: &[Record]| records.iter().map(one).collect::<Vec<_>>().join("; ");
                    let more = if additional.is_empty() { "" } else { " + " };
                    format!("{}{more}{}", all(&answers), all(&additional))
                }
            };
            format!("{name} {kind}: {shown}\n")
        })
        .collect();
    expected.assert_eq(&text);
}

#[test]
fn names_are_those_of_the_specification() {
    check(
        &[
            ("web.ns.svc.cluster.local", kind::A),
            ("web.ns.svc.cluster.local", kind::AAAA),
            ("_http._tcp.web.ns.svc.cluster.local", kind::SRV),
            ("_dns._udp.web.ns.svc.cluster.local", kind::SRV),
            ("_tcp.web.ns.svc.cluster.local", kind::A),
            ("10-244-0-5.web.ns.svc.cluster.local", kind::A),
            ("db.ns.svc.cluster.local", kind::A),
            ("db-0.db.ns.svc.cluster.local", kind::A),
            ("_sql._tcp.db.ns.svc.cluster.local", kind::SRV),
            ("out.ns.svc.cluster.local", kind::A),
            ("out.ns.svc.cluster.local", kind::CNAME),
            ("in.ns.svc.cluster.local", kind::A),
            ("in.ns.svc.cluster.local", kind::AAAA),
            ("in.ns.svc.cluster.local", kind::SRV),
            ("in.ns.svc.cluster.local", kind::TXT),
            ("twice.ns.svc.cluster.local", kind::A),
            ("far.ns.svc.cluster.local", kind::AAAA),
            ("round.ns.svc.cluster.local", kind::A),
            ("round.ns.svc.cluster.local", kind::CNAME),
            ("dangling.ns.svc.cluster.local", kind::A),
            ("address.ns.svc.cluster.local", kind::A),
            ("web.ns.svc.cluster.local", kind::SRV),
            ("db-0.db.ns.svc.cluster.local", kind::SRV),
            ("web.ns.svc.cluster.local", kind::ANY),
            ("cluster.local", kind::NS),
            ("ns.dns.cluster.local", kind::A),
            ("web.ns.svc.cluster.local", kind::NS),
            ("7.0.96.10.in-addr.arpa", kind::PTR),
            ("2.0.244.10.in-addr.arpa", kind::PTR),
            ("10-1-2-3.ns.pod.cluster.local", kind::A),
            ("dns-version.cluster.local", kind::TXT),
            ("ns.svc.cluster.local", kind::A),
            ("cluster.local", kind::A),
            ("none.ns.svc.cluster.local", kind::A),
            ("other.svc.cluster.local", kind::A),
            ("x.ns.pod.cluster.local", kind::A),
            ("notcluster.local", kind::A),
            ("example.org", kind::A),
        ],
        expect![[r#"
            web.ns.svc.cluster.local 1: web.ns.svc.cluster.local A(10.96.0.7)
            web.ns.svc.cluster.local 28: 
            _http._tcp.web.ns.svc.cluster.local 33: _http._tcp.web.ns.svc.cluster.local Srv { weight: 100, port: 80, target: "web.ns.svc.cluster.local" } + web.ns.svc.cluster.local A(10.96.0.7)
            _dns._udp.web.ns.svc.cluster.local 33: _dns._udp.web.ns.svc.cluster.local Srv { weight: 100, port: 53, target: "web.ns.svc.cluster.local" } + web.ns.svc.cluster.local A(10.96.0.7)
            _tcp.web.ns.svc.cluster.local 1: 
            10-244-0-5.web.ns.svc.cluster.local 1: 10-244-0-5.web.ns.svc.cluster.local A(10.244.0.5)
            db.ns.svc.cluster.local 1: db.ns.svc.cluster.local A(10.244.0.2); db.ns.svc.cluster.local A(10.244.0.3)
            db-0.db.ns.svc.cluster.local 1: db-0.db.ns.svc.cluster.local A(10.244.0.2)
            _sql._tcp.db.ns.svc.cluster.local 33: _sql._tcp.db.ns.svc.cluster.local Srv { weight: 50, port: 5433, target: "10-244-0-3.db.ns.svc.cluster.local" }; _sql._tcp.db.ns.svc.cluster.local Srv { weight: 50, port: 5433, target: "db-0.db.ns.svc.cluster.local" } + 10-244-0-3.db.ns.svc.cluster.local A(10.244.0.3); db-0.db.ns.svc.cluster.local A(10.244.0.2)
            out.ns.svc.cluster.local 1: out.ns.svc.cluster.local Cname("www.example.org")
            out.ns.svc.cluster.local 5: out.ns.svc.cluster.local Cname("www.example.org")
            in.ns.svc.cluster.local 1: in.ns.svc.cluster.local Cname("web.ns.svc.cluster.local"); web.ns.svc.cluster.local A(10.96.0.7)
            in.ns.svc.cluster.local 28: 
            in.ns.svc.cluster.local 33: in.ns.svc.cluster.local Srv { weight: 100, port: 0, target: "web.ns.svc.cluster.local" } + web.ns.svc.cluster.local A(10.96.0.7)
            in.ns.svc.cluster.local 16: 
            twice.ns.svc.cluster.local 1: twice.ns.svc.cluster.local Cname("in.ns.svc.cluster.local"); in.ns.svc.cluster.local Cname("web.ns.svc.cluster.local"); web.ns.svc.cluster.local A(10.96.0.7)
            far.ns.svc.cluster.local 28: far.ns.svc.cluster.local Cname("out.ns.svc.cluster.local"); out.ns.svc.cluster.local Cname("www.example.org")
            round.ns.svc.cluster.local 1: 
            round.ns.svc.cluster.local 5: round.ns.svc.cluster.local Cname("about.ns.svc.cluster.local")
            dangling.ns.svc.cluster.local 1: 
            address.ns.svc.cluster.local 1: no name
            web.ns.svc.cluster.local 33: web.ns.svc.cluster.local Srv { weight: 33, port: 1, target: "web.ns.svc.cluster.local" }; web.ns.svc.cluster.local Srv { weight: 33, port: 53, target: "web.ns.svc.cluster.local" }; web.ns.svc.cluster.local Srv { weight: 33, port: 80, target: "web.ns.svc.cluster.local" } + web.ns.svc.cluster.local A(10.96.0.7)
            db-0.db.ns.svc.cluster.local 33: db-0.db.ns.svc.cluster.local Srv { weight: 100, port: 5433, target: "db-0.db.ns.svc.cluster.local" } + db-0.db.ns.svc.cluster.local A(10.244.0.2)
            web.ns.svc.cluster.local 255: 
            cluster.local 2: cluster.local Ns("ns.dns.cluster.local") + ns.dns.cluster.local A(10.244.0.1)
            ns.dns.cluster.local 1: ns.dns.cluster.local A(10.244.0.1)
            web.ns.svc.cluster.local 2: 
            7.0.96.10.in-addr.arpa 12: 7.0.96.10.in-addr.arpa Ptr("web.ns.svc.cluster.local")
            2.0.244.10.in-addr.arpa 12: 2.0.244.10.in-addr.arpa Ptr("db-0.db.ns.svc.cluster.local")
            10-1-2-3.ns.pod.cluster.local 1: 10-1-2-3.ns.pod.cluster.local A(10.1.2.3)
            dns-version.cluster.local 16: dns-version.cluster.local Txt("1.1.0")
            ns.svc.cluster.local 1: 
            cluster.local 1: 
            none.ns.svc.cluster.local 1: no name
            other.svc.cluster.local 1: no name
            x.ns.pod.cluster.local 1: no name
            notcluster.local 1: elsewhere
            example.org 1: elsewhere
        "#]],
    );
}

#[test]
fn only_aliases_that_leave_the_cluster_are_asked_of_others() {
    let zone = zone();
    let leads_out = |name: &str, kind: u16| {
        let Answer::Records { answers, .. } = zone.answer(&Query::new(1, name, kind)) else {
            panic!("{name}")
        };
        zone.leads_out(&answers).map(str::to_owned)
    };
    for kind in [kind::A, kind::AAAA] {
        assert_eq!(leads_out("out.ns.svc.cluster.local", kind).as_deref(), Some("www.example.org"));
        assert_eq!(leads_out("in.ns.svc.cluster.local", kind), None);
        assert_eq!(leads_out("web.ns.svc.cluster.local", kind), None);
    }
}

#[test]
fn an_answer_repeats_the_question_and_fits() {
    let mut asked = Query::new(7, "WEB.ns.svc.cluster.local", kind::A).bytes();
    let query = Query::parse(&asked).unwrap();
    assert_eq!(
        (query.name.as_str(), query.kind, query.udp_max()),
        ("web.ns.svc.cluster.local", kind::A, 512)
    );
    let Answer::Records { answers: records, .. } = zone().answer(&query) else { panic!() };
    let answer = query.answer(Code::NoError, only(&records), 512);
    assert_eq!(answer[12..12 + asked.len() - 12], asked[12..], "as it was asked");
    let (code, read) = read_answer(&query, &answer).unwrap();
    assert_eq!((code, read), (0, records));
    // EDNS.
    asked[11] = 1;
    asked.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let query = Query::parse(&asked).unwrap();
    assert_eq!(query.udp_max(), 1232);
    let many: Vec<Record> = (0..200)
        .map(|n| Record { name: query.name.clone(), ttl: 5, data: Data::A([10, 0, 0, n].into()) })
        .collect();
    let cut = query.answer(Code::NoError, only(&many), query.udp_max());
    assert!(cut.len() <= 1232 && cut[2] & 2 != 0, "{} bytes, flags {:x}", cut.len(), cut[2]);
    assert_eq!(read_answer(&query, &cut).unwrap().1.len(), usize::from(cut[7]));
    let whole =
        query.answer(Code::NoError, Sections { authority: Some(&Zone::authority(1)), ..only(&many) }, 65_535);
    assert_eq!((whole[2] & 2, read_answer(&query, &whole).unwrap().1.len()), (0, 200));
}

fn addresses(name: &str, count: u8) -> Vec<Record> {
    let one = |n: u8| Record { name: name.to_owned(), ttl: 5, data: Data::A([10, 0, 0, n].into()) };
    (0..count).map(one).collect()
}

#[test]
fn names_that_a_message_has_already_are_pointers() {
    let query = Query::new(7, "db.ns.svc.cluster.local", kind::A);
    let many = addresses(&query.name, 100);
    let cut = query.answer(Code::NoError, only(&many), 512);
    assert_eq!(cut[7], 29, "16 bytes a record after a question of 41");
    assert_eq!(read_answer(&query, &cut).unwrap().1, many[..29]);
    // An alias and what it stands for share the domain; the target of SRV is written out (RFC 2782).
    let alias =
        Record { name: query.name.clone(), ttl: 5, data: Data::Cname("web.ns.svc.cluster.local".to_owned()) };
    let records = [vec![alias], addresses("web.ns.svc.cluster.local", 1)].concat();
    let answer = query.answer(Code::NoError, only(&records), 512);
    assert_eq!(answer.len(), query.bytes().len() + (12 + 6) + (12 + 4));
    assert_eq!(read_answer(&query, &answer).unwrap().1, records);
    let target = Data::Srv { weight: 1, port: 1, target: query.name.clone() };
    let srv = Record { name: query.name.clone(), ttl: 5, data: target };
    assert_eq!(query.answer(Code::NoError, only(&[srv]), 512).len(), query.bytes().len() + 12 + 6 + 25);
}

#[test]
fn addresses_take_turns_and_aliases_stay_first() {
    let rotated = |records: &[Record], by| {
        let mut records = records.to_vec();
        rotate(&mut records, by);
        records
    };
    let three = addresses("a", 3);
    for by in 0..7 {
        let records = rotated(&three, by);
        assert_eq!((records.len(), &records[0]), (3, &three[by % 3]), "{by}");
    }
    let alias = Record { name: "b".to_owned(), ttl: 5, data: Data::Cname("a".to_owned()) };
    let aliased = [vec![alias.clone()], three.clone()].concat();
    assert_eq!(rotated(&aliased, 1), [&[alias], &three[1..], &three[..1]].concat());
    // An alias after an address, as another server may answer.
    let mixed = [three, aliased].concat();
    assert_eq!(rotated(&mixed, 1), mixed);
    assert_eq!(rotated(&[], 1), []);
}

#[test]
fn the_domain_has_a_start_of_authority() {
    let answer = zone().answer(&Query::new(1, "cluster.local", kind::SOA));
    assert_eq!(answer, Answer::Records { answers: vec![Zone::authority(1)], additional: vec![] });
}

#[test]
fn names_with_any_bytes_are_questions() {
    let mut asked = Query::new(7, "my-printer.local", kind::A).bytes();
    asked[12 + 3] = b' ';
    let query = Query::parse(&asked).unwrap();
    assert_eq!((query.name.as_str(), zone().answer(&query)), ("my\\032printer.local", Answer::Elsewhere));
    assert_eq!(query.answer(Code::ServerFailure, Sections::default(), 512)[12..], asked[12..]);
    for name in [
        "10-1-2-3.n\\032s.pod.cluster.local",
        "10-1-2-3.a.b.pod.cluster.local",
        "10-1-2-3..pod.cluster.local",
    ] {
        let mut query = query.clone();
        query.name = name.to_owned();
        assert_eq!(zone().answer(&query), Answer::NoName, "{name}");
    }
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let good = Query::new(7, "a.b", kind::A).bytes();
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        Query::parse(&message)
    };
    assert_eq!(with(2, 0x80), Err(None), "an answer");
    assert_eq!(with(2, 0x10).unwrap_err().unwrap()[3], Code::NotImplemented as u8);
    assert_eq!(with(5, 2).unwrap_err().unwrap()[3], Code::FormatError as u8, "two questions");
    assert_eq!(with(12, 0xc0).unwrap_err().unwrap()[3], Code::FormatError as u8, "a pointer to itself");
    assert_eq!(Query::parse(&good[..11]), Err(None));
    let mut into_header = good[..12].to_vec();
    into_header.extend([1, b'a', 0xc0, 3, 0, 1, 0, 1]);
    assert_eq!(Query::parse(&into_header).unwrap_err().unwrap()[3], Code::FormatError as u8);
}

proptest! {
    #[test]
    fn any_message_is_read(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Query::parse(&message);
        let _ = read_answer(&Query::new(0, "", 0), &message);
    }

    #[test]
    fn a_question_is_read_as_it_was_written(name in "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,40}){0,4}", id: u16) {
        let query = Query::new(id, &name, kind::SRV);
        prop_assert_eq!(Query::parse(&query.bytes()).unwrap(), query);
    }
}
