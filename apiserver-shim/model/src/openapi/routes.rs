//! The operations of a resource: which paths and methods it has, by its verbs, and what each takes and answers. Both versions of
//! OpenAPI are written from this.

use super::parameters::{self, Parameter};
use super::{Described, PATCH, STATUS, WATCH_EVENT, document_path, operation_id};
use crate::protobuf;
use crate::resource::{KindRef, Resource, ServedSubresource, Verb};

pub(super) const JSON_AND_YAML: &[&str] = &["application/json", "application/yaml"];
pub(super) const ENCODINGS: &[&str] = &["application/json", "application/yaml", protobuf::MEDIA_TYPE];
/// The encodings with those of streams of events.
const STREAMS: &[&str] = &[
    "application/json",
    "application/yaml",
    protobuf::MEDIA_TYPE,
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const ANY: &[&str] = &["*/*"];

/// Methods of streams to a Pod and of proxies; those of verbs come first.
const PROXY_METHODS: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];

/// Codes of answers with their reason phrases.
pub(super) type Codes = &'static [(u16, &'static str)];
pub(super) const OK: Codes = &[(200, "OK")];
const STORED: Codes = &[(200, "OK"), (201, "Created")];
const CREATED: Codes = &[(200, "OK"), (201, "Created"), (202, "Accepted")];
const DELETED: Codes = &[(200, "OK"), (202, "Accepted")];

/// One operation: a method of a path.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub path: String,
    /// Lower case, as in documents.
    pub method: &'static str,
    pub tag: String,
    pub id: String,
    pub description: String,
    pub consumes: &'static [&'static str],
    pub produces: Vec<&'static str>,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// The full name of the type of the answer; a text if there is none.
    pub answer: Option<String>,
    pub codes: Codes,
    /// What it does to which kind; paths that serve no resource have none.
    pub action: Option<Action>,
}

/// A request's body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    /// The full name of its type.
    pub name: String,
    pub required: bool,
}

/// The value of `x-kubernetes-action` and the kind.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub name: &'static str,
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// The routes of a resource and its subresources.
pub(super) fn of_resource(described: &Described<'_>) -> Vec<Route> {
    let own = Builder::new(described, described.resource.kind_ref(), None);
    let mut routes = own.collection();
    routes.extend(own.object(&described.resource.verbs, described.resource.object_type.name()));
    for subresource in &described.resource.subresources {
        // As upstream: that of a custom resource's scale is the resource's own.
        let kind = match described.resource.custom {
            Some(_) => described.resource.kind_ref(),
            None => subresource.kind.as_ref(),
        };
        let builder = Builder::new(described, kind, Some(subresource));
        match &subresource.object_type {
            Some(ty) => routes.extend(builder.object(&subresource.verbs, ty.name())),
            None => routes.extend(builder.connections()),
        }
    }
    routes
}

struct Builder<'a> {
    resource: &'a Resource,
    returns_deleted: bool,
    kind: KindRef<'a>,
    subresource: Option<&'a ServedSubresource>,
    /// `/api/v1` or `/apis/group/version`.
    root: String,
    /// The paths of the collection and of one object.
    collection: String,
    item: String,
}

impl<'a> Builder<'a> {
    fn new(described: &Described<'a>, kind: KindRef<'a>, subresource: Option<&'a ServedSubresource>) -> Self {
        let resource = described.resource;
        let root = format!("/{}", document_path(&resource.group, &resource.version));
        let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{scope}/{}", resource.plural);
        let suffix = subresource.map(|sub| format!("/{}", sub.name)).unwrap_or_default();
        let item = format!("{collection}/{{name}}{suffix}");
        let returns_deleted = described.returns_deleted;
        Builder { resource, returns_deleted, kind, subresource, root, collection, item }
    }

    fn is_custom(&self) -> bool {
        self.resource.custom.is_some()
    }

    fn allows(&self, verb: Verb) -> bool {
        self.resource.allows(verb)
    }

    /// Routes of the collection.
    fn collection(&self) -> Vec<Route> {
        let mut out = Vec::new();
        let watches = self.allows(Verb::Watch) && self.allows(Verb::List) && !self.is_custom();
        let scoped = [(self.collection.clone(), false)];
        let everywhere = [(format!("/{}", self.resource.plural), true)];
        let scopes = scoped.into_iter().chain(everywhere.into_iter().filter(|_| self.resource.namespaced));
        for (path, all) in scopes {
            if self.allows(Verb::List) {
                out.push(self.list(&path, all));
            }
            if watches {
                out.push(self.watch("watchlist", &path, all));
            }
        }
        let name = self.resource.object_type.name();
        if self.allows(Verb::Create) {
            out.push(self.create(&self.collection, name));
        }
        if self.allows(Verb::DeleteCollection) {
            out.push(self.delete_collection());
        }
        if self.allows(Verb::Watch) && !self.is_custom() {
            out.push(self.watch("watch", &self.item, false));
        }
        out
    }

    /// Routes of an object or of a subresource, whose bodies have the type `name`.
    fn object(&self, verbs: &[Verb], name: &str) -> Vec<Route> {
        let route = |verb: &Verb| match verb {
            Verb::Get => Some(self.get(name)),
            Verb::Update => Some(self.update(name)),
            Verb::Patch => Some(self.patch(name)),
            Verb::Delete if self.subresource.is_none() => Some(self.delete(name)),
            Verb::Create if self.subresource.is_some() => Some(self.create(&self.item, name)),
            _ => None,
        };
        verbs.iter().filter_map(route).collect()
    }

    fn list(&self, path: &str, all: bool) -> Route {
        let mut route = self.route("get", "list", ["list", "", ""], path, all);
        route.produces = if self.is_custom() { JSON_AND_YAML } else { STREAMS }.to_vec();
        route.parameters.extend(parameters::of_options("meta.v1.ListOptions"));
        route.answer = Some(super::list_name(self.resource));
        route
    }

    fn watch(&self, action: &'static str, path: &str, all: bool) -> Route {
        let suffix = if action == "watchlist" { "List" } else { "" };
        let mut route = self.route("get", action, ["watch", "", suffix], &format!("/watch{path}"), all);
        route.produces = STREAMS.to_vec();
        route.parameters.extend(parameters::of_options("meta.v1.ListOptions"));
        route.answer = Some(WATCH_EVENT.to_owned());
        route
    }

    fn create(&self, path: &str, name: &str) -> Route {
        let mut route = self.route("post", "post", ["create", "", ""], path, false);
        self.write(&mut route, "meta.v1.CreateOptions", name, name);
        route.codes = CREATED;
        route
    }

    fn update(&self, name: &str) -> Route {
        let mut route = self.route("put", "put", ["replace", "", ""], &self.item, false);
        self.write(&mut route, "meta.v1.UpdateOptions", name, name);
        route.codes = STORED;
        route
    }

    fn patch(&self, name: &str) -> Route {
        let mut route = self.route("patch", "patch", ["patch", "", ""], &self.item, false);
        self.write(&mut route, "meta.v1.PatchOptions", PATCH, name);
        route.consumes = crate::patch::media_types(&self.resource.object_type);
        // Apply creates what does not exist; the documents of custom resources do not say so.
        route.codes = if self.is_custom() { OK } else { STORED };
        route
    }

    fn write(&self, route: &mut Route, options: &str, body: &str, answer: &str) {
        route.parameters.extend(parameters::of_options(options));
        route.body = Some(Body { name: body.to_owned(), required: true });
        route.answer = Some(answer.to_owned());
    }

    fn get(&self, name: &str) -> Route {
        let mut route = self.route("get", "get", ["read", "", ""], &self.item, false);
        route.answer = Some(name.to_owned());
        if self.is_custom() {
            route.parameters.extend(parameters::of_options("meta.v1.GetOptions"));
        }
        // A view with options of its own is a text.
        let options = self.own_options();
        if !options.is_empty() {
            route.parameters.extend(options);
            route.produces.insert(0, "text/plain");
            route.answer = None;
        }
        route
    }

    /// The parameters of a subresource such as `log`, which is read with options of its own.
    fn own_options(&self) -> Vec<Parameter> {
        let Some(sub) = self.subresource else { return Vec::new() };
        let package = if self.resource.group.is_empty() { "core" } else { return Vec::new() };
        let kind = format!("{}{}Options", self.resource.kind, capitalized(&sub.name));
        parameters::of_options(&format!("{package}.{}.{kind}", self.resource.version))
    }

    fn delete(&self, name: &str) -> Route {
        let mut route = self.route("delete", "delete", ["delete", "", ""], &self.item, false);
        self.delete_options(&mut route);
        route.answer = Some(if self.returns_deleted { name } else { STATUS }.to_owned());
        route.codes = DELETED;
        route
    }

    fn delete_options(&self, route: &mut Route) {
        route.parameters.extend(parameters::of_options("meta.v1.DeleteOptions"));
        route.body = Some(Body { name: super::DELETE_OPTIONS.to_owned(), required: false });
    }

    fn delete_collection(&self) -> Route {
        let verb = ["delete", "collection", ""];
        let mut route = self.route("delete", "deletecollection", verb, &self.collection, false);
        route.answer = Some(STATUS.to_owned());
        let mut list = parameters::of_options("meta.v1.ListOptions");
        if !self.is_custom() {
            self.delete_options(&mut route);
            list.retain(|p| !matches!(p.name.as_str(), "watch" | "allowWatchBookmarks"));
        }
        route.parameters.extend(list);
        route
    }

    /// Routes of a subresource that is a connection, such as `exec` and `proxy`.
    fn connections(&self) -> Vec<Route> {
        let Some(sub) = self.subresource else { return Vec::new() };
        let options = parameters::of_options(&format!("core.{}.{}", self.kind.version, self.kind.kind));
        let passes_path = options.iter().any(|p| p.name == "path");
        let used = |method: &&&str| match **method {
            "get" => sub.verbs.contains(&Verb::Get),
            "post" => sub.verbs.contains(&Verb::Create),
            _ => passes_path,
        };
        let mut out = Vec::new();
        for method in PROXY_METHODS.iter().filter(used) {
            let infix = capitalized(method);
            for below in [false, true].into_iter().take(1 + usize::from(passes_path)) {
                let path = format!("{}{}", self.item, if below { "/{path}" } else { "" });
                let suffix = if below { "WithPath" } else { "" };
                let mut route = self.route(method, "connect", ["connect", &infix, suffix], &path, false);
                route.consumes = ANY;
                route.produces = ANY.to_vec();
                route.parameters.retain(|p| p.name != "pretty");
                route.parameters.extend(options.iter().cloned());
                if below {
                    route
                        .parameters
                        .push(parameters::in_path("path", "The rest of the path, which is passed on."));
                }
                out.push(route);
            }
        }
        out
    }

    /// A route without a body. The operation's name has a verb, something after the verb, and something at its end.
    fn route(
        &self,
        method: &'static str,
        action: &'static str,
        [verb, infix, suffix]: [&str; 3],
        path: &str,
        all: bool,
    ) -> Route {
        let path = format!("{}{path}", self.root);
        let namespaced = if self.resource.namespaced && !all { "Namespaced" } else { "" };
        let sub = self.subresource.map(|sub| capitalized(&sub.name)).unwrap_or_default();
        let all_suffix = if all { "ForAllNamespaces" } else { "" };
        let name = format!("{infix}{namespaced}{}{sub}{suffix}{all_suffix}", self.resource.kind);
        let (id, tag) = operation_id(verb, &path, &name);
        Route {
            method,
            tag,
            id,
            description: self.description(action, all),
            consumes: if self.is_custom() { JSON_AND_YAML } else { ANY },
            produces: if self.is_custom() { JSON_AND_YAML } else { ENCODINGS }.to_vec(),
            parameters: self.path_parameters(&path).chain([parameters::pretty()]).collect(),
            path,
            body: None,
            answer: None,
            codes: OK,
            action: Some(Action {
                name: action,
                group: self.kind.group.to_owned(),
                version: self.kind.version.to_owned(),
                kind: self.kind.kind.to_owned(),
            }),
        }
    }

    fn path_parameters(&self, path: &str) -> impl Iterator<Item = Parameter> {
        let namespace = parameters::in_path("namespace", "The namespace of the object.");
        let name = parameters::in_path("name", &format!("Name of the {}.", self.resource.kind));
        let has = |part: &str| path.contains(part);
        let (scoped, named) = (has("{namespace}"), has("{name}"));
        [(scoped, namespace), (named, name)]
            .into_iter()
            .filter_map(|(used, parameter)| used.then_some(parameter))
    }

    fn description(&self, action: &str, all: bool) -> String {
        let kind = &self.resource.kind;
        let of = match self.subresource {
            Some(sub) => format!("the {} of a {kind}", sub.name),
            None => format!("a {kind}"),
        };
        let everywhere = if all { " of all namespaces" } else { "" };
        match action {
            "list" => format!("Lists or watches objects of the kind {kind}{everywhere}."),
            "watchlist" => {
                format!(
                    "Watches objects of the kind {kind}{everywhere}. Deprecated: a list with `watch` does the same."
                )
            }
            "watch" => {
                format!("Watches {of}. Deprecated: a list with `watch` and a field selector does the same.")
            }
            "post" => format!("Creates {of}."),
            "put" => format!("Replaces {of}."),
            "patch" => format!("Changes {of} in part."),
            "delete" => format!("Deletes {of}."),
            "deletecollection" => format!("Deletes objects of the kind {kind}."),
            "connect" => format!("Connects to {of}."),
            _ => format!("Reads {of}."),
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
