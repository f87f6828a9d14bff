//! `pods/eviction`: a deletion through admission of the Eviction, if the Pod's PodDisruptionBudget allows it.

use serde_json::Value;
use shim_core::disruption_budgets;
use shim_core::kinds::Subresource;
use shim_model::status::{self, Status};

use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{negotiation, reply};
use crate::pipeline::EvictionOutcome;
use crate::request::query::dry_run;
use crate::storage::deletion::DeleteOptions;

pub(super) async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = asked.accepted()?;
    let context = asked.write_context("CreateOptions")?;
    negotiation::body_media(asked.headers)?;
    let bytes = body::read(body).await?;
    let eviction = asked.decode(&bytes, asked.subresource_type()?, &context)?.value;
    super::check_namespace(&eviction, &asked.target.namespace)?;
    let name = &asked.target.name;
    if eviction["metadata"]["name"].as_str().unwrap_or("") != name {
        return Err(status::bad_request("name in URL does not match name in Eviction object"));
    }
    let context = &context;
    let options = |eviction: &Value| delete_options(eviction, context.dry_run);
    // What is wrong with the request is said before admission.
    options(&eviction)?;
    let evicted = api.pipeline.evict(context, asked.object(Subresource::Main), eviction, options).await?;
    // As upstream, one kind of failure is the result of a successful request.
    let result = match evicted {
        EvictionOutcome::Evicted(_) => status::created(),
        EvictionOutcome::SeveralBudgets => disruption_budgets::several(),
    };
    Ok(reply::value(201, accepted.media, &result.to_value()))
}

/// The options of the deletion.
fn delete_options(eviction: &Value, is_dry_run: bool) -> Result<DeleteOptions, Status> {
    let wanted = &eviction["deleteOptions"];
    let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let asked_dry: Vec<&str> =
        wanted["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok(DeleteOptions {
        grace_period_seconds: wanted["gracePeriodSeconds"].as_i64(),
        uid: text(&wanted["preconditions"]["uid"]),
        resource_version: text(&wanted["preconditions"]["resourceVersion"]),
        dry_run: is_dry_run || dry_run(asked_dry.into_iter(), "DeleteOptions")?,
        ..DeleteOptions::default()
    })
}
