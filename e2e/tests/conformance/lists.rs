//! Lists: in pages, and as tables.

use anyhow::{Context, ensure};
use http::Method;
use serde_json::json;

use crate::{
    Test,
    client::{Api, name, version},
    kinds::pod_spec,
};

pub const TESTS: &[Test] =
    &[("come_in_pages", come_in_pages), ("no_table_of_a_review", no_table_of_a_review)];

fn come_in_pages(api: &Api) -> anyhow::Result<()> {
    const COUNT: usize = 120;
    const LIMIT: usize = 17;
    let namespace = api.namespace("pages")?;
    let templates = namespace.path("v1", "podtemplates");
    for number in 0..COUNT {
        let object =
            json!({"metadata": {"name": format!("template-{number:04}")}, "template": {"spec": pod_spec()}});
        api.create(&templates, &object)?.with(201)?;
    }
    for _ in 0..3 {
        let mut token = String::new();
        let mut first_version = None;
        let mut found = 0;
        loop {
            let page = api.get(&format!("{templates}?limit={LIMIT}&continue={token}"))?.ok()?;
            let items = page["items"].as_array().context("items")?;
            ensure!(items.len() <= LIMIT, "{} items", items.len());
            let expected = first_version.get_or_insert_with(|| version(&page).to_owned());
            ensure!(version(&page) == expected.as_str(), "{} and not {expected}", version(&page));
            for item in items {
                ensure!(name(item) == format!("template-{found:04}"), "{item}");
                found += 1;
            }
            let remaining = &page["metadata"]["remainingItemCount"];
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => {
                    ensure!(remaining.as_u64() == Some((COUNT - found) as u64), "{}", page["metadata"]);
                    token = next.to_owned();
                }
                _ => {
                    ensure!(remaining.is_null(), "{}", page["metadata"]);
                    break;
                }
            }
        }
        ensure!(found == COUNT, "{found}");
    }
    let all = api.list(&format!("{templates}?limit={}", COUNT + 1))?;
    ensure!(all.len() == COUNT, "{}", all.len());
    Ok(())
}

fn no_table_of_a_review(api: &Api) -> anyhow::Result<()> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}},
    });
    let headers =
        [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = api.call(Method::POST, path, &headers, review.to_string())?;
    ensure!(answer.code == 406, "{answer:?}");
    Ok(())
}
