//! Bootstrap objects: system namespaces, default roles, system priority classes, the objects of priority and fairness, the
//! ServiceCIDR, and the `kubernetes` Service through which Pods reach this API server. Runs at every start and writes only what is
//! missing or outdated.

use std::net::IpAddr;

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_core::controllers::service_cidrs::default_object;
use shim_core::flow_control;
use shim_core::service_addresses::DEFAULT_NAME;
use shim_model::access;
use shim_model::resource::GroupResource;
use shim_model::status::Status;
use shim_pki::authority::FRONT_PROXY_CLIENT;

use crate::pipeline::{Identity, ObjectRef, Pipeline, RequestContext};
use crate::storage::registry::Registry;

mod roles;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// What the bootstrap objects say of this server.
pub struct Bootstrap<'a> {
    /// The address under which other machines reach it.
    pub advertise: IpAddr,
    /// Its port.
    pub port: u16,
    /// The certificate authority of its clients, PEM.
    pub client_ca: &'a str,
    /// The certificate authority of the certificate that it presents to aggregated API servers, PEM.
    pub front_proxy_ca: &'a str,
}

impl Bootstrap<'_> {
    /// Writes the bootstrap objects.
    pub async fn run(&self, pipeline: &Pipeline) -> Result<(), Status> {
        objects(pipeline, self.port).await?;
        authentication(pipeline, self).await?;
        endpoints(pipeline, &Identity::bootstrap().untracked(), self).await
    }
}

/// The manager of the default objects of priority and fairness, as upstream's.
const FLOW_CONTROL_MANAGER: &str = "api-priority-and-fairness-config-producer-v1";

async fn objects(pipeline: &Pipeline, port: u16) -> Result<(), Status> {
    let identity = Identity::bootstrap();
    for name in NAMESPACES {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(pipeline, &identity.context("create"), served("", "namespaces"), "", object).await?;
    }
    roles::run(pipeline).await?;
    for (name, value, what) in [
        ("system-cluster-critical", 2_000_000_000, "a cluster"),
        ("system-node-critical", 2_000_001_000, "a node"),
    ] {
        let classes = served("scheduling.k8s.io", "priorityclasses");
        let description = format!("For Pods that {what} cannot do without.");
        let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1}, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority"});
        ensure(pipeline, &identity.context("create"), classes, "", object).await?;
    }
    let producer = Identity::bootstrap().managing_as(FLOW_CONTROL_MANAGER);
    for default in flow_control::bootstrap::defaults() {
        let resource = served(flow_control::GROUP, default.plural);
        ensure(pipeline, &producer.context("create"), resource, "", default.object).await?;
    }
    let range = pipeline.registry().service_cidr();
    let (ranges, object) = (served("networking.k8s.io", "servicecidrs"), default_object(range));
    ensure(pipeline, &identity.context("create"), ranges, "", object).await?;
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": range.api_server().to_string(), "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}});
    ensure(pipeline, &identity.context("create"), served("", "services"), "default", service).await?;
    warn_of_other_range(pipeline.registry());
    warn_of_strangers(pipeline.registry());
    Ok(())
}

/// By what aggregated API servers recognize users: the certificate authority of clients, and the one of this server's
/// certificate, which lets it name users in headers.
async fn authentication(pipeline: &Pipeline, server: &Bootstrap<'_>) -> Result<(), Status> {
    const NAME: &str = "extension-apiserver-authentication";
    let list = |names: &[&str]| json!(names).to_string();
    let data = json!({
        "client-ca-file": server.client_ca,
        "requestheader-allowed-names": list(&[FRONT_PROXY_CLIENT]),
        "requestheader-client-ca-file": server.front_proxy_ca,
        "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"]),
        "requestheader-group-headers": list(&["X-Remote-Group"]),
        "requestheader-uid-headers": list(&["X-Remote-Uid"]),
        "requestheader-username-headers": list(&["X-Remote-User"]),
    });
    let identity = Identity::bootstrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": "kube-system"}, "data": data});
    let resource = served("", "configmaps");
    ensure(pipeline, &identity.context("create"), resource.clone(), "kube-system", object).await?;
    let resource = pipeline.registry().builtin(&resource);
    let target = ObjectRef::new(&resource, "kube-system", NAME);
    let context = identity.context("update");
    let updated = pipeline.update_with(&context, target, |found| {
        let mut found = found.clone();
        for (key, value) in data.as_object().into_iter().flatten() {
            found["data"][key] = value.clone();
        }
        Ok(found)
    });
    updated.await.map(drop)
}

/// The ServiceCIDR of the server keeps its range when the server gets another one, as upstream's.
fn warn_of_other_range(registry: &Registry) {
    let found = registry.peek(served("networking.k8s.io", "servicecidrs"), "", DEFAULT_NAME);
    let Some(object) = found.map(|found| found.value()) else { return };
    let range = registry.service_cidr().to_string();
    if access::list(&object, &["spec", "cidrs"]).iter().all(|cidr| *cidr != range) {
        tracing::warn!(
            service_cidr = range,
            object = %object["spec"]["cidrs"],
            "the ServiceCIDR \"kubernetes\" does not have the range of --service-cidr; delete it, and it is created again"
        );
    }
}

/// Services keep their addresses when the Service CIDR is changed; nodes do not know those of an earlier range as virtual.
fn warn_of_strangers(registry: &Registry) {
    let range = registry.service_cidr();
    let address = |service: &Value| access::text(service, &["spec", "clusterIP"]).parse().ok();
    let strangers = registry
        .cache(served("", "services"))
        .list(None)
        .into_iter()
        .filter(|object| address(&object.value()).is_some_and(|address| !range.contains(address)))
        .count();
    if strangers > 0 {
        tracing::warn!(
            services = strangers,
            service_cidr = %range,
            "Services have cluster IPs outside of the Service CIDR; delete and create them again for new ones"
        );
    }
}

async fn ensure(
    pipeline: &Pipeline,
    context: &RequestContext,
    resource: GroupResource,
    namespace: &str,
    object: Value,
) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    if pipeline.registry().peek(&resource, namespace, name).is_some() {
        return Ok(());
    }
    let resource = pipeline.registry().builtin(&resource);
    let target = ObjectRef::new(&resource, namespace, "");
    match pipeline.create(context, target, object).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

/// Points the `kubernetes` Service at this server.
async fn endpoints(
    pipeline: &Pipeline,
    identity: &Identity,
    &Bootstrap { advertise, port, .. }: &Bootstrap<'_>,
) -> Result<(), Status> {
    let family = if advertise.is_ipv6() { "IPv6" } else { "IPv4" };
    let (slices, legacy) = (served("discovery.k8s.io", "endpointslices"), served("", "endpoints"));
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": "kubernetes", "namespace": "default", "generation": 1,
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": [advertise.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]});
    let classic = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": advertise.to_string()}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]});
    for (resource, object, members) in
        [(slices, slice, &["addressType", "endpoints", "ports"][..]), (legacy, classic, &["subsets"][..])]
    {
        // On loopback the server has endpoints that validation forbids for all others.
        let context = |verb| identity.context(verb).tolerate_invalid();
        ensure(pipeline, &context("create"), resource.clone(), "default", object.clone()).await?;
        let resource = pipeline.registry().builtin(&resource);
        let target = ObjectRef::new(&resource, "default", "kubernetes");
        let context = context("update");
        let updated = pipeline.update_with(&context, target, |found| {
            let mut found = found.clone();
            for member in members {
                found[*member] = object[*member].clone();
            }
            Ok(found)
        });
        updated.await?;
    }
    Ok(())
}
