//! Where proxied requests go.

use serde_json::json;

use super::*;

fn at(target: &str, locate: impl Fn(&ProxyTarget<'_>) -> Result<Location, Status>) -> String {
    match ProxyTarget::parse(target).map(|target| locate(&target)) {
        None => "invalid".to_owned(),
        Some(Ok(found)) => format!("{}://{}", found.scheme, found.authority),
        Some(Err(status)) => format!("{} {}", status.code, status.message),
    }
}

#[test]
fn backends_of_pods() {
    let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]}, "status": {"podIP": "10.1.2.3"}});
    let of = |target: &str| at(target, |target| of_pod(&pod, target));
    assert_eq!(of("p"), "http://10.1.2.3:8080");
    assert_eq!(of("p:81"), "http://10.1.2.3:81");
    assert_eq!(of("https:p:443"), "https://10.1.2.3:443");
    assert_eq!(of("ftp:p:21"), "invalid");
    let local = json!({"status": {"podIP": "127.0.0.1"}});
    assert_eq!(at("p", |target| of_pod(&local, target)), "400 address not allowed");
    assert_eq!(at("p", |target| of_pod(&json!({}), target)), "400 address not allowed");
}

#[test]
fn backends_of_services() {
    let service = json!({"spec": {"ports": [{"name": "web", "port": 80}, {"name": "admin", "port": 90}]}});
    let endpoints = json!({"subsets": [
        {"notReadyAddresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "web", "port": 8080}, {"name": "admin", "port": 9090}]},
        {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "web", "port": 8080}]}]});
    let of = |target: &str| at(target, |target| service_endpoint(&service, &endpoints, target));
    assert_eq!(of("s"), "http://10.0.0.1:8080");
    assert_eq!(of("s:web"), "http://10.0.0.1:8080");
    assert_eq!(of("https:s:80"), "https://10.0.0.1:8080");
    assert_eq!(of("s:admin"), "503 no endpoints available for service \"s:admin\"");
    assert_eq!(of("s:91"), "503 no service port \"91\" found for service \"s\"");
}

#[test]
fn paths_below_a_proxy() {
    assert_eq!(path_below("/api/v1/namespaces/n/pods/p:80/proxy/a%2Fb/", true), "/a%2Fb/");
    assert_eq!(path_below("/api/v1/namespaces/n/pods/p:80/proxy/", true), "/");
    assert_eq!(path_below("/api/v1/namespaces/n/pods/p:80/proxy", true), "");
    assert_eq!(path_below("/api/v1/nodes/n/proxy/metrics", false), "/metrics");
}
