//! ServiceCIDRs and IPAddresses: an IPAddress comes and goes with its Service, and further ranges are allocated from.

use crate::harness::Server;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const GROUP: &str = "/apis/networking.k8s.io/v1";

fn service(name: &str, address: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}"}},"spec":{{"clusterIP":"{address}","ports":[{{"port":80}}]}}}}"#
    )
}

#[tokio::test]
async fn an_address_comes_and_goes_with_its_service() {
    let server = Server::start().await;
    let own = server.json(&format!("GET {GROUP}/servicecidrs/kubernetes"), "").await;
    assert_eq!(own["spec"]["cidrs"][0], "10.96.0.0/12");
    let api = server.json(&format!("GET {GROUP}/ipaddresses/10.96.0.1"), "").await;
    assert_eq!(api["spec"]["parentRef"]["name"], "kubernetes");
    let made = server.json(&format!("POST {SERVICES}"), &service("a", "")).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let address = server.json(&format!("GET {GROUP}/ipaddresses/{ip}"), "").await;
    assert_eq!(address["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    let parent = &address["spec"]["parentRef"];
    assert_eq!(
        (&parent["resource"], &parent["namespace"], &parent["name"]),
        (&"services".into(), &"default".into(), &"a".into())
    );
    assert!(server.ask(&format!("DELETE {SERVICES}/a"), "").await.starts_with("200 "));
    assert!(server.ask(&format!("GET {GROUP}/ipaddresses/{ip}"), "").await.starts_with("404 "));
}

#[tokio::test]
async fn generated_names_are_those_of_the_addresses() {
    let server = Server::start().await;
    let body = r#"{"metadata":{"generateName":"s-"},"spec":{"ports":[{"port":80}]}}"#;
    let made = server.json(&format!("POST {SERVICES}"), body).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    let address = server.json(&format!("GET {GROUP}/ipaddresses/{ip}"), "").await;
    assert_eq!(address["spec"]["parentRef"]["name"], made["metadata"]["name"]);
}

#[tokio::test]
async fn addresses_come_from_further_ranges() {
    let server = Server::start().await;
    let refused = server.ask(&format!("POST {SERVICES}"), &service("a", "203.0.113.10")).await;
    assert!(refused.contains("the provided network does not match the current range"), "{refused}");
    let range = r#"{"metadata":{"name":"more"},"spec":{"cidrs":["203.0.113.0/24"]}}"#;
    assert!(server.ask(&format!("POST {GROUP}/servicecidrs"), range).await.starts_with("201 "));
    assert!(server.ask(&format!("POST {SERVICES}"), &service("a", "203.0.113.10")).await.starts_with("201 "));
    let taken = server.ask(&format!("POST {SERVICES}"), &service("b", "203.0.113.10")).await;
    assert!(taken.contains("provided IP is already allocated"), "{taken}");
    // A dry run accepts what is taken, and looks at the server's own range only.
    let dry = format!("POST {SERVICES}?dryRun=All");
    let first =
        "the provided IP (203.0.113.10) is not in the valid range. The range of valid IPs is 10.96.0.0/12";
    let refused = server.ask(&dry, &service("b", "203.0.113.10")).await;
    assert!(refused.contains(first), "{refused}");
    assert!(server.ask(&dry, &service("b", "10.96.0.1")).await.starts_with("201 "));
    // An IPAddress of somebody else is taken too.
    let foreign =
        r#"{"metadata":{"name":"203.0.113.11"},"spec":{"parentRef":{"resource":"gateways","name":"g"}}}"#;
    assert!(server.ask(&format!("POST {GROUP}/ipaddresses"), foreign).await.starts_with("201 "));
    let taken = server.ask(&format!("POST {SERVICES}"), &service("b", "203.0.113.11")).await;
    assert!(taken.contains("provided IP is already allocated"), "{taken}");
    assert!(server.ask(&format!("DELETE {SERVICES}/a"), "").await.starts_with("200 "));
    assert!(server.ask(&format!("POST {SERVICES}"), &service("b", "203.0.113.10")).await.starts_with("201 "));
}

#[tokio::test]
async fn a_port_is_free_once_its_service_gives_it_up() {
    let server = Server::start().await;
    let ported = |name: &str, port: u16| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"type":"NodePort","ports":[{{"port":80,"nodePort":{port}}}]}}}}"#
        )
    };
    let create =
        async |name: &str, port: u16| server.ask(&format!("POST {SERVICES}"), &ported(name, port)).await;
    assert!(create("a", 30_100).await.starts_with("201 "));
    let taken = create("b", 30_100).await;
    assert!(taken.contains("provided port is already allocated"), "{taken}");
    // By another port, another type, and a deletion. A Service keeps its own port.
    let merge = format!("PATCH {SERVICES}/a | Content-Type: application/merge-patch+json");
    let labelled = server.ask(&merge, r#"{"metadata":{"labels":{"x":"y"}}}"#).await;
    assert!(labelled.starts_with("200 ") && labelled.contains("30100"), "{labelled}");
    let moved = r#"{"spec":{"ports":[{"port":80,"nodePort":30101}]}}"#;
    assert!(server.ask(&merge, moved).await.starts_with("200 "));
    assert!(create("b", 30_100).await.starts_with("201 "));
    assert!(!create("c", 30_101).await.starts_with("201 "));
    let hidden = r#"{"spec":{"type":"ClusterIP","ports":[{"port":80}]}}"#;
    assert!(server.ask(&merge, hidden).await.starts_with("200 "));
    assert!(create("c", 30_101).await.starts_with("201 "));
    assert!(server.ask(&format!("DELETE {SERVICES}/b"), "").await.starts_with("200 "));
    assert!(create("d", 30_100).await.starts_with("201 "));
    // Many changes at once: the index reads them in order.
    for round in 0..20 {
        let (name, port) = (format!("r{round}"), 30_200);
        assert!(create(&name, port).await.starts_with("201 "), "{round}");
        assert!(!create("other", port).await.starts_with("201 "), "{round}");
        assert!(server.ask(&format!("DELETE {SERVICES}/{name}"), "").await.starts_with("200 "));
    }
}
