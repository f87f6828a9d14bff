//! LIST. Served from the watch cache if it can provide the requested revision, else from the store's history
//! (continue tokens and `resourceVersionMatch=Exact`).

use std::sync::Arc;

use base64::Engine;
use serde_json::{Value, json};
use shim_core::definition::ResourceDefinition;
use shim_core::kinds;
use shim_model::field::FieldError;
use shim_model::selector::{FieldSelector, LabelSelector};
use shim_model::status::{self, Status};
use store::{ListRequest, Revision};

use super::body::Response;
use super::negotiation::{Accepted, Shape};
use super::shapes::{self, ListMeta};
use crate::request::query::Query;
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::registry::{Registry, of_store, parse};
use crate::storage::selection::{CONVERTED_MAX, Selection, ShownSelection};
use crate::storage::watch_cache::{View, push_key};
use shim_model::go_quote::go_quote;

/// Maximum number of keys per read of the store.
const STORE_PAGE: usize = 1000;
/// The parameter that says how `resourceVersion` is meant.
const MATCH: &str = "resourceVersionMatch";

/// Options of a LIST or WATCH.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// The selected objects.
    pub selection: Selection,
    /// Maximum number of objects in the response; 0 means unlimited.
    pub limit: usize,
    /// The `continue` parameter: where the previous page ended.
    pub continue_token: String,
    /// The `resourceVersion` parameter, if present.
    pub revision: Option<u64>,
    /// Whether exactly that revision is required; otherwise any that is not older.
    pub exact: bool,
}

/// Parses the options of a LIST.
pub fn options(
    resource: &ResourceDefinition,
    namespace: &str,
    name: &str,
    query: &Query,
    watch: bool,
) -> Result<ListOptions, Status> {
    let selection = selection(resource, namespace, name, query)?;
    let limit = query.number("limit")?.unwrap_or(0).max(0) as usize;
    query.number("timeoutSeconds")?;
    let matching = query.text(MATCH);
    // The option `watch` of a DELETE has no effect, but is judged.
    check(query, watch || query.flag("watch"))?;
    // A watch does not continue anything.
    let continue_token = if watch { String::new() } else { query.text("continue").to_owned() };
    let revision = match continue_token.is_empty() {
        true => revision(query, !watch)?,
        false => continued_revision(query, &continue_token)?,
    };
    // As upstream, resourceVersion 0 accepts any version: the whole list, or the rest of it, is returned.
    let limit = if revision == Some(0) { 0 } else { limit };
    // With a limit and no `resourceVersionMatch`, a resourceVersion is exact. This is upstream's legacy behaviour.
    let exact = matching == "Exact" || (matching.is_empty() && limit > 0 && revision.is_some_and(|r| r > 0));
    Ok(ListOptions { selection, limit, continue_token, revision, exact })
}

/// The revision of a request with a continue token, which has a revision itself. As upstream, the token is judged
/// first and the text of the other is not.
fn continued_revision(query: &Query, token: &str) -> Result<Option<u64>, Status> {
    decode_token(token)?;
    match query.text("resourceVersion") {
        "" => Ok(None),
        "0" => Ok(Some(0)),
        _ => Err(status::bad_request("specifying resource version is not allowed when using continue")),
    }
}

/// Whether a watch begins with the existing objects. As upstream, one that names neither a revision nor what it
/// matches does, and says where they end.
pub fn initial_events(query: &Query) -> Option<bool> {
    let old = matches!(query.text("resourceVersion"), "" | "0") && query.text(MATCH).is_empty();
    let asked = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    asked.or(old.then_some(true))
}

/// Parses `resourceVersion`. As upstream, only a list says that the request is wrong.
pub fn revision(query: &Query, lists: bool) -> Result<Option<u64>, Status> {
    match query.text("resourceVersion") {
        "" => Ok(None),
        text => go_uint(text).map(Some).map_err(|why| {
            let why = format!("strconv.ParseUint: parsing {}: {why}", go_quote(text));
            let error = FieldError::invalid("resourceVersion", text, why);
            match lists {
                true => status::bad_request(format!("invalid resource version: {error}")),
                false => status::unclassified(error.to_string()),
            }
        }),
    }
}

/// Parses decimal digits as Go does: without a sign.
fn go_uint(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

/// Parses the label and field selectors.
pub fn selection(
    resource: &ResourceDefinition,
    namespace: &str,
    name: &str,
    query: &Query,
) -> Result<Selection, Status> {
    let refuse = |e: shim_model::selector::SelectorError| status::bad_request(e.to_string());
    let labels = LabelSelector::parse(query.text("labelSelector")).map_err(refuse)?;
    let mut fields = FieldSelector::parse(query.text("fieldSelector")).map_err(refuse)?;
    kinds::check_field_selector(resource, &fields)?;
    for term in &mut fields.terms {
        term.field = resource.converter().stored_field(&term.field).into_owned();
    }
    if !name.is_empty() {
        let exact = FieldSelector::parse(&format!("metadata.name={name}")).map_err(refuse)?;
        fields.terms.extend(exact.terms);
    }
    Ok(Selection::new(Some(namespace).filter(|n| !n.is_empty()), labels, fields))
}

/// Validates combinations of options.
fn check(query: &Query, watch: bool) -> Result<(), Status> {
    let initial =
        if watch { initial_events(query).is_some() } else { query.get("sendInitialEvents").is_some() };
    let defaulted = watch && initial && query.get("sendInitialEvents").is_none();
    let matching = if defaulted { "NotOlderThan" } else { query.text(MATCH) };
    let (is_set, continued) = (!matching.is_empty(), !query.text("continue").is_empty());
    let known: &[&str] = if watch { &["NotOlderThan"] } else { &["Exact", "NotOlderThan", ""] };
    let is_known = !is_set || known.contains(&matching);
    let version = query.text("resourceVersion");
    let forbid = |wrong: bool, why: &str| wrong.then(|| FieldError::forbidden(MATCH, why));
    let unknown = || (!is_known).then(|| FieldError::not_supported(MATCH, matching, known));
    let continues =
        forbid(is_set && continued, "resourceVersionMatch is forbidden when continue is provided");
    let errors: Vec<FieldError> = if watch {
        let requires = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let alone = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        let first = [
            forbid(initial && matching != "NotOlderThan", requires),
            forbid(!initial && is_set, alone),
            unknown(),
            continues,
        ];
        first.into_iter().flatten().collect()
    } else {
        let without = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        let exact = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        let list = "sendInitialEvents is forbidden for list";
        let all = [
            forbid(is_set && version.is_empty(), without),
            continues,
            unknown(),
            forbid(matching == "Exact" && version == "0", exact),
            initial.then(|| FieldError::forbidden("sendInitialEvents", list)),
        ];
        all.into_iter().flatten().collect()
    };
    if errors.is_empty() { Ok(()) } else { Err(status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

/// Serves a LIST.
pub async fn list(
    registry: &Registry,
    resource: &ServedResource,
    options: &ListOptions,
    accepted: Accepted,
    query: &Query,
) -> Result<Response, Status> {
    if accepted.shape == Shape::Metadata {
        return shapes::many(resource, accepted, query, Vec::new(), &ListMeta::default()).await;
    }
    let (items, meta) = read(registry, resource, options).await?;
    shapes::many(resource, accepted, query, items, &meta).await
}

/// Reads the objects of a LIST.
pub async fn read(
    registry: &Registry,
    resource: &ServedResource,
    options: &ListOptions,
) -> Result<(Vec<Arc<Object>>, ListMeta), Status> {
    let mut start = String::new();
    let mut at = options.revision.filter(|_| options.exact);
    if !options.continue_token.is_empty() {
        let (revision, from) = decode_token(&options.continue_token)?;
        start = from;
        at = revision;
    }
    match (at, options.revision) {
        (Some(exact), _) => registry.wait_for(exact).await?,
        (None, Some(0)) => {}
        (None, Some(oldest)) => registry.wait_for(oldest).await?,
        (None, None) => {
            registry.fresh().await?;
        }
    }
    resource.stored().unreadable().check_all(options.selection.namespace())?;
    let read = match at {
        Some(exact) if exact < registry.expired_before() => Err(status::list_expired()),
        _ => match read_cache(registry, resource, options, at, &start).await {
            Some(read) => return read,
            None => read_history(registry, resource, options, at.unwrap_or_default(), start.clone()).await,
        },
    };
    match read {
        Err(expired) if expired.code == 410 && !start.is_empty() => {
            Err(status::continue_expired(encode_token(ANY_REVISION, start.trim_end_matches('\0'))))
        }
        read => read,
    }
}

/// Reads from the cache; `None` if the requested revision is older than the cache's.
async fn read_cache(
    registry: &Registry,
    resource: &ServedResource,
    options: &ListOptions,
    at: Option<u64>,
    start: &str,
) -> Option<Result<(Vec<Arc<Object>>, ListMeta), Status>> {
    let (shown, candidates) = match cached(registry, resource, options, at, start)? {
        Cached::Selected(items, meta) => return Some(Ok((items, meta))),
        Cached::Candidates { shown, objects } => (shown, objects),
    };
    let found = ShownSelection::new(resource, &options.selection)?;
    Some(read_shown(&found, candidates, options, shown).await)
}

/// What the cache has of a selection.
enum Cached {
    /// The selected objects.
    Selected(Vec<Arc<Object>>, ListMeta),
    /// The objects that may be selected, with their keys, of a version that is not stored, at a revision.
    Candidates { shown: u64, objects: Vec<(String, Arc<Object>)> },
}

fn cached(
    registry: &Registry,
    resource: &ServedResource,
    options: &ListOptions,
    at: Option<u64>,
    start: &str,
) -> Option<Cached> {
    // Read the progress before taking the snapshot: the snapshot may be newer, but never older.
    let progress = registry.progress();
    let view = resource.cache().view();
    let shown = match at {
        None => progress.max(view.last_change()),
        // The resource has not changed since that revision, so the cache still represents it.
        Some(exact) if view.last_change() <= exact => exact,
        Some(_) => return None,
    };
    if let Some(converted) = ShownSelection::new(resource, &options.selection) {
        let coarse = converted.coarse();
        let objects = view.selected(&coarse, start).map(|(key, object)| (key.to_owned(), object.clone()));
        return Some(Cached::Candidates { shown, objects: objects.collect() });
    }
    let (items, meta) = read_view(&view, options, shown, start);
    Some(Cached::Selected(items, meta))
}

/// Selects by what the version shows.
async fn read_shown(
    selection: &ShownSelection<'_>,
    candidates: Vec<(String, Arc<Object>)>,
    options: &ListOptions,
    revision: u64,
) -> Result<(Vec<Arc<Object>>, ListMeta), Status> {
    let mut items = Vec::new();
    for (at, batch) in candidates.chunks(CONVERTED_MAX).enumerate() {
        let objects: Vec<_> = batch.iter().map(|(_, object)| object).collect();
        let selected = selection.matches(&objects).await?;
        for (i, (key, object)) in batch.iter().enumerate().filter(|(i, _)| selected[*i]) {
            items.push(object.clone());
            if options.limit > 0 && items.len() >= options.limit {
                let left = candidates.len() - (at * CONVERTED_MAX + i + 1);
                return Ok((items, meta_of(&options.selection, revision, key, left as u64)));
            }
        }
    }
    Ok((items, ListMeta { revision, ..ListMeta::default() }))
}

fn read_view(
    view: &View<'_>,
    options: &ListOptions,
    revision: u64,
    start: &str,
) -> (Vec<Arc<Object>>, ListMeta) {
    let selection = &options.selection;
    if let (Some(name), true) = (selection.exact_name(), options.limit == 0)
        && let Some(namespace) = selection.namespace()
    {
        let found = view.get(namespace, name).filter(|o| selection.matches(o));
        return (found.into_iter().collect(), ListMeta { revision, ..ListMeta::default() });
    }
    let mut items = Vec::new();
    let mut last = "";
    for (key, object) in view.selected(selection, start) {
        items.push(object.clone());
        if options.limit > 0 && items.len() >= options.limit {
            last = key;
            break;
        }
    }
    let left = if last.is_empty() { 0 } else { view.count_after(selection, last) as u64 };
    (items, meta_of(selection, revision, last, left))
}

fn meta_of(selection: &Selection, revision: u64, last: &str, left: u64) -> ListMeta {
    if left == 0 {
        return ListMeta { revision, ..ListMeta::default() };
    }
    let remaining = (!selection.is_selective()).then_some(left);
    ListMeta { revision, continue_token: encode_token(revision, last), remaining }
}

/// Reads a past revision from the store's history.
async fn read_history(
    registry: &Registry,
    resource: &ServedResource,
    options: &ListOptions,
    revision: u64,
    start: String,
) -> Result<(Vec<Arc<Object>>, ListMeta), Status> {
    let selection = &options.selection;
    let mut prefix = resource.stored().prefix().to_owned();
    let strip = prefix.len();
    if let Some(namespace) = selection.namespace() {
        push_key(&mut prefix, namespace, "");
    }
    let mut request =
        ListRequest { prefix, limit: STORE_PAGE, at: Some(Revision(revision)), start_after: None };
    if !start.is_empty() {
        // Tokens name the first key of the next page: the last key seen, followed by NUL.
        request.start_after = Some(resource.key("", start.trim_end_matches('\0')));
    }
    let mut items = Vec::new();
    loop {
        let start = std::time::Instant::now();
        let page = registry.store().list(request.clone()).await;
        registry.store_requests(resource).list.observe(start, &page);
        let page = page.map_err(of_store)?;
        let count = page.kvs.len();
        let objects = page.kvs.iter().map(|kv| {
            parse(resource.stored().definition(), kv, None)
                .map_err(|why| status::internal(format!("unable to transform key {:?}: {why}", kv.key)))
        });
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        let selected = match ShownSelection::new(resource, selection) {
            Some(shown) => shown.matches(&objects.iter().collect::<Vec<_>>()).await?,
            None => objects.iter().map(|object| selection.matches(object)).collect(),
        };
        for (i, (kv, object)) in page.kvs.iter().zip(objects).enumerate() {
            if selected[i] {
                items.push(object);
            }
            if options.limit > 0 && items.len() >= options.limit {
                let left = page.remaining + (count - i - 1) as u64;
                return Ok((items, meta_of(selection, revision, &kv.key.as_str()[strip..], left)));
            }
        }
        request.start_after = page.kvs.last().map(|kv| kv.key.clone());
        if !page.more {
            return Ok((items, ListMeta { revision, ..ListMeta::default() }));
        }
    }
}

const TOKEN: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The revision of a continue token that continues at the latest revision.
const ANY_REVISION: i64 = -1;

fn encode_token(revision: impl Into<Value>, last: &str) -> String {
    TOKEN.encode(
        json!({"v": "meta.k8s.io/v1", "rv": revision.into(), "start": format!("{last}\0")}).to_string(),
    )
}

/// Decodes a continue token into its revision (`None`: latest) and first key.
fn decode_token(token: &str) -> Result<(Option<u64>, String), Status> {
    fn refuse<T>(why: &str) -> Result<T, Status> {
        Err(status::bad_request(format!("invalid continue token: continue key is not valid: {why}")))
    }
    let illegal = |at: usize| format!("illegal base64 data at input byte {at}");
    let bytes = match TOKEN.decode(token) {
        Ok(bytes) => bytes,
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            return refuse(&illegal(at));
        }
        // A single character at the end.
        Err(_) => return refuse(&illegal(token.len() / 4 * 4)),
    };
    let value = shim_model::schema::plain_json(&bytes).or_else(|why| refuse(&why))?;
    let version = value["v"].as_str().unwrap_or("");
    if version != "meta.k8s.io/v1" {
        return refuse(&format!("server does not recognize this encoded version {version}"));
    }
    let start = value["start"].as_str().unwrap_or("").to_owned();
    match value["rv"].as_i64().unwrap_or(0) {
        0 => refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        _ if start.is_empty() => refuse("encoded start key empty (version meta.k8s.io/v1)"),
        _ if start.split('/').any(|step| matches!(step, "." | "..")) => refuse(&start),
        ANY_REVISION => Ok((None, start)),
        revision => Ok((Some(revision.unsigned_abs()), start)),
    }
}
