//! Parameters of requests: those of an options type, as its message has them, and those of paths.

use serde_json::{Value, json};

use crate::protobuf;

const TEXTS: &str = include_str!("../../data/parameters.tsv");

/// A parameter of a path or a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    pub name: String,
    /// `path` or `query`.
    pub place: &'static str,
    pub ty: &'static str,
    pub description: String,
}

/// The query parameters that an options type has: its texts, booleans and numbers, and lists of these.
pub(super) fn of_options(message: &str) -> Vec<Parameter> {
    let scalars = protobuf::members(message).into_iter();
    scalars.filter_map(|member| Some(query(message, member.name, member.scalar?))).collect()
}

pub(super) fn pretty() -> Parameter {
    Parameter {
        name: "pretty".to_owned(),
        place: "query",
        ty: "string",
        description: "Whether the answer is indented for people.".to_owned(),
    }
}

pub(super) fn in_path(name: &str, description: &str) -> Parameter {
    Parameter { name: name.to_owned(), place: "path", ty: "string", description: description.to_owned() }
}

fn query(message: &str, name: &str, ty: &'static str) -> Parameter {
    Parameter { name: name.to_owned(), place: "query", ty, description: text(message, name).to_owned() }
}

fn text(message: &str, name: &str) -> &'static str {
    let rows = || TEXTS.lines().filter_map(|line| line.split_once('\t'));
    let own = rows().find(|(key, _)| key.split_once('@') == Some((name, message)));
    own.or_else(|| rows().find(|(key, _)| *key == name)).map_or("", |(_, text)| text)
}

impl Parameter {
    /// What tells it from others of the same request.
    pub fn key(&self) -> (&str, &'static str) {
        (&self.name, self.place)
    }

    /// OpenAPI v3: the type is in a schema.
    pub fn version_3(&self) -> Value {
        let schema = json!({"type": self.ty, "uniqueItems": true});
        self.with(json!({"schema": schema}))
    }

    /// OpenAPI v2.
    pub fn version_2(&self) -> Value {
        self.with(json!({"type": self.ty, "uniqueItems": true}))
    }

    fn with(&self, mut out: Value) -> Value {
        out["name"] = self.name.as_str().into();
        out["in"] = self.place.into();
        if !self.description.is_empty() {
            out["description"] = self.description.as_str().into();
        }
        if self.place == "path" {
            out["required"] = true.into();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_parameters() {
        let names = |message: &str| {
            let all = of_options(message).into_iter().map(|p| format!("{}:{}", p.name, p.ty));
            all.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("core.v1.PodPortForwardOptions"), "ports:integer");
        assert_eq!(
            names("meta.v1.DeleteOptions"),
            "gracePeriodSeconds:integer orphanDependents:boolean propagationPolicy:string dryRun:string \
             ignoreStoreReadErrorWithClusterBreakingPotential:boolean",
            "preconditions are an object"
        );
        assert!(!names("core.v1.PodLogOptions").contains("sinceTime"));
    }

    #[test]
    fn every_parameter_is_explained() {
        let all = [
            "meta.v1.ListOptions",
            "meta.v1.DeleteOptions",
            "meta.v1.PatchOptions",
            "meta.v1.GetOptions",
            "core.v1.PodLogOptions",
            "core.v1.PodExecOptions",
            "core.v1.PodProxyOptions",
        ];
        for message in all {
            for parameter in of_options(message) {
                assert_ne!(parameter.description, "", "{message} {}", parameter.name);
            }
        }
        assert_ne!(
            text("meta.v1.PatchOptions", "fieldManager"),
            text("meta.v1.CreateOptions", "fieldManager")
        );
    }
}
