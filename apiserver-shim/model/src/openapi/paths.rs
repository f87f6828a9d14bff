//! Paths with their operations, from routes: in the form of OpenAPI v3 and of v2. Parameters that all operations of a path have are
//! the path's.

use super::parameters::Parameter;
use super::routes::{Body, Route};
use super::{definition, reference};
use serde_json::{Map, Value, json};

/// The paths of routes in OpenAPI v3.
pub(super) fn version_3(routes: &[Route]) -> Map<String, Value> {
    of(routes, &Parameter::version_3, &operation_3)
}

/// The paths of routes in OpenAPI v2.
pub(super) fn version_2(routes: &[Route]) -> Map<String, Value> {
    let mut paths = of(routes, &Parameter::version_2, &operation_2);
    // A path without parameters has an empty list.
    for path in paths.values_mut().filter(|path| path.get("parameters").is_none()) {
        if routes.iter().any(|route| route.action.is_some()) {
            path["parameters"] = json!([]);
        }
    }
    paths
}

type WriteParameter<'a> = &'a dyn Fn(&Parameter) -> Value;
type WriteOperation<'a> = &'a dyn Fn(&Route, Vec<Value>) -> Value;

fn of(routes: &[Route], parameter: WriteParameter<'_>, operation: WriteOperation<'_>) -> Map<String, Value> {
    let mut groups: Vec<(&str, Vec<&Route>)> = Vec::new();
    for route in routes {
        match groups.iter_mut().find(|(path, _)| *path == route.path) {
            Some((_, group)) => group.push(route),
            None => groups.push((&route.path, vec![route])),
        }
    }
    let path = |(path, routes): (&str, Vec<&Route>)| {
        (path.to_owned(), Value::Object(path_item(&routes, parameter, operation)))
    };
    groups.into_iter().map(path).collect()
}

fn path_item(
    routes: &[&Route],
    parameter: WriteParameter<'_>,
    operation: WriteOperation<'_>,
) -> Map<String, Value> {
    let is_common = |p: &Parameter| {
        routes.iter().all(|route| route.parameters.iter().any(|other| other.key() == p.key()))
    };
    let mut item = Map::new();
    for route in routes {
        let own = route.parameters.iter().filter(|p| !is_common(p));
        item.insert(route.method.to_owned(), operation(route, written(own, parameter)));
    }
    let common = routes.first().into_iter().flat_map(|route| &route.parameters).filter(|p| is_common(p));
    let common = written(common, parameter);
    if !common.is_empty() {
        item.insert("parameters".to_owned(), common.into());
    }
    item
}

fn written<'a>(parameters: impl Iterator<Item = &'a Parameter>, write: WriteParameter<'_>) -> Vec<Value> {
    let mut sorted: Vec<&Parameter> = parameters.collect();
    sorted.sort_by(|a, b| a.key().cmp(&b.key()));
    sorted.into_iter().map(write).collect()
}

/// What both versions have.
fn operation(route: &Route) -> Value {
    let mut out = json!({
        "tags": [route.tag],
        "description": route.description,
        "operationId": route.id,
    });
    if let Some(action) = &route.action {
        out["x-kubernetes-action"] = action.name.into();
        out["x-kubernetes-group-version-kind"] =
            json!({"group": action.group, "version": action.version, "kind": action.kind});
    }
    out
}

fn answers(route: &Route, write: impl Fn(&str) -> Value) -> Value {
    let mut all = Map::new();
    for (code, reason) in route.codes {
        all.insert(code.to_string(), write(reason));
    }
    all.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(all)
}

fn operation_3(route: &Route, parameters: Vec<Value>) -> Value {
    let mut out = operation(route);
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    let content = |media: &[&str], schema: Value| -> Map<String, Value> {
        media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect()
    };
    if let Some(Body { name, required }) = &route.body {
        out["requestBody"] = json!({"content": content(route.consumes, reference(name))});
        if *required {
            out["requestBody"]["required"] = true.into();
        }
    }
    let schema = route.answer.as_deref().map_or_else(|| json!({"type": "string"}), reference);
    let content = content(&route.produces, schema);
    out["responses"] = answers(route, |reason| json!({"description": reason, "content": content}));
    out
}

fn operation_2(route: &Route, mut parameters: Vec<Value>) -> Value {
    let mut out = operation(route);
    if let Some(Body { name, required }) = &route.body {
        let mut body = json!({"name": "body", "in": "body", "schema": definition(name)});
        if *required {
            body["required"] = true.into();
        }
        parameters.insert(0, body);
    }
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    if !route.consumes.is_empty() {
        out["consumes"] = json!(route.consumes);
    }
    out["produces"] = json!(route.produces);
    out["schemes"] = json!(["https"]);
    let schema = route.answer.as_deref().map_or_else(|| json!({"type": "string"}), definition);
    out["responses"] = answers(route, |reason| json!({"description": reason, "schema": schema}));
    out
}
