//! Discovery documents and the server's version.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::Value;

use crate::{
    Test,
    client::{Api, DEADLINE},
    definitions::{Definition, anything},
};

pub const TESTS: &[Test] = &[
    ("interface_of_aggregated_documents", interface_of_aggregated_documents),
    ("interface_of_aggregated_documents_with_custom_resources", interface_with_custom_resources),
    ("aggregated_documents", aggregated_documents),
    ("aggregated_documents_with_custom_resources", aggregated_documents_with_custom_resources),
    ("each_group_has_its_versions_and_resources", each_group_has_its_versions_and_resources),
    ("each_group_has_its_preferred_version", each_group_has_its_preferred_version),
    ("server_version", server_version),
];

/// Resources that every cluster has, in groups.
const GROUPED: &[(&str, &str, &str)] = &[
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
];

/// The same without a group.
const CORE: &[(&str, &str, &str)] =
    &[("", "v1", "namespaces"), ("", "v1", "nodes"), ("", "v1", "pods"), ("", "v1", "services")];

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What client-go sends: aggregated documents in either version, or else the plain ones.
const NEGOTIATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

fn document(api: &Api, path: &str, accept: &str) -> anyhow::Result<Value> {
    let answer = api.call(Method::GET, path, &[("accept", accept)], "")?;
    ensure!(answer.media_type() == AGGREGATED, "{path}: {}", answer.media_type());
    let document = answer.ok()?;
    ensure!(document["kind"] == "APIGroupDiscoveryList", "{}", document["kind"]);
    Ok(document)
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether the document has the resource.
fn lists(document: &Value, (group, version, plural): (&str, &str, &str)) -> bool {
    let name = |group: &Value| group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    elements(&document["items"])
        .filter(|found| name(found) == group)
        .flat_map(|found| elements(&found["versions"]))
        .filter(|found| found["version"] == version && found["freshness"] == "Current")
        .flat_map(|found| elements(&found["resources"]))
        .any(|found| found["resource"] == plural && found["verbs"].is_array() && found["scope"].is_string())
}

fn has_all(api: &Api, accept: &str) -> anyhow::Result<()> {
    for (path, resources) in [("/apis", GROUPED), ("/api", CORE)] {
        let document = document(api, path, accept)?;
        for resource in resources {
            ensure!(lists(&document, *resource), "{path} has no {resource:?}");
        }
    }
    Ok(())
}

fn aggregated_documents(api: &Api) -> anyhow::Result<()> {
    has_all(api, AGGREGATED)
}

fn interface_of_aggregated_documents(api: &Api) -> anyhow::Result<()> {
    has_all(api, NEGOTIATED)?;
    // kubectl is a client of the interface: it asks for these two documents only.
    let listed = api.kubectl(&["api-resources", "-v", "6", "--no-headers"])?;
    for (group, version, plural) in GROUPED {
        let row = listed.lines().find(|row| {
            let mut words = row.split_whitespace();
            words.next() == Some(*plural) && words.any(|word| word == format!("{group}/{version}"))
        });
        // It shows a resource in the preferred version only.
        ensure!(row.is_some() || *group == "autoscaling", "kubectl lists no {plural} of {group}/{version}");
    }
    Ok(())
}

fn custom_resource_appears(api: &Api, accept: &str) -> anyhow::Result<()> {
    let definition = Definition::of_things(api, anything())?;
    e2e::program::wait_for("the resource in the document", DEADLINE, || {
        let document = document(api, "/apis", accept)?;
        Ok(lists(&document, (definition.group.as_str(), "v1", "things")).then_some(()))
    })
}

fn aggregated_documents_with_custom_resources(api: &Api) -> anyhow::Result<()> {
    custom_resource_appears(api, AGGREGATED)
}

fn interface_with_custom_resources(api: &Api) -> anyhow::Result<()> {
    custom_resource_appears(api, NEGOTIATED)
}

fn each_group_has_its_versions_and_resources(api: &Api) -> anyhow::Result<()> {
    let groups = api.get("/apis")?.ok()?;
    for (group, version, plural) in GROUPED {
        let found = elements(&groups["groups"]).find(|found| found["name"] == *group);
        let found = found.with_context(|| format!("no {group}"))?;
        ensure!(elements(&found["versions"]).any(|found| found["version"] == *version), "{found}");
        let list = api.get(&format!("/apis/{group}/{version}"))?.ok()?;
        ensure!(list["groupVersion"] == format!("{group}/{version}"), "{list}");
        ensure!(elements(&list["resources"]).any(|found| found["name"] == *plural), "{list}");
    }
    Ok(())
}

fn each_group_has_its_preferred_version(api: &Api) -> anyhow::Result<()> {
    let groups = api.get("/apis")?.ok()?;
    for group in elements(&groups["groups"]) {
        let name = group["name"].as_str().context("a name")?;
        // Groups of other tests come and go.
        if name.ends_with(".example.com") {
            continue;
        }
        let alone = api.get(&format!("/apis/{name}"))?.ok()?;
        ensure!(alone["preferredVersion"] == group["preferredVersion"], "{alone} and {group}");
        ensure!(elements(&alone["versions"]).any(|version| version == &alone["preferredVersion"]), "{alone}");
    }
    Ok(())
}

fn server_version(api: &Api) -> anyhow::Result<()> {
    let version = api.get("/version")?.ok()?;
    for field in ["major", "minor"] {
        let digits = version[field].as_str().unwrap_or_default().trim_end_matches('+');
        ensure!(digits.parse::<u32>().is_ok(), "{field}: {version}");
    }
    Ok(())
}
