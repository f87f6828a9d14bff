//! The `meta.k8s.io/v1` Table and PartialObjectMetadata representations. Columns come from `data/columns.tsv`, cells
//! from the kinds' strategies.

use serde_json::{Value, json};

const COLUMNS: &str = include_str!("../data/columns.tsv");

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `boolean` or `date`.
    pub ty: String,
    /// `name` for the column of names, otherwise empty.
    pub format: String,
    /// What the column shows; empty for the usual words.
    pub description: String,
    /// 0: always printed; greater: in wide output only.
    pub priority: i32,
}

impl Column {
    /// A column of the table: `name:type[:format][*]`.
    fn parse(text: &str) -> Option<Self> {
        let (text, priority) = text.strip_suffix('*').map_or((text, 0), |t| (t, 1));
        let mut parts = text.split(':');
        let mut part = || parts.next().map(str::to_owned);
        Some(Column {
            name: part()?,
            ty: part()?,
            format: part().unwrap_or_default(),
            description: String::new(),
            priority,
        })
    }

    fn to_value(&self) -> Value {
        json!({"name": self.name, "type": self.ty, "format": self.format, "description": self.description(), "priority": self.priority})
    }

    fn description(&self) -> String {
        if !self.description.is_empty() {
            return self.description.clone();
        }
        match self.name.as_str() {
            "Name" => "Name of the object, unique among its kind in the namespace.".to_owned(),
            "Age" => "Time since the object was created.".to_owned(),
            other => format!("{other} of the object."),
        }
    }
}

/// The columns of a resource without columns of its own: name and creation time.
pub fn default_columns() -> Vec<Column> {
    parse("Name:string:name | Created At:date")
}

/// Whether columns are those of a resource without columns of its own.
pub fn are_default(columns: &[Column]) -> bool {
    matches!(columns, [name, created] if name.name == "Name" && created.name == "Created At")
}

/// The columns of a built-in resource.
pub fn builtin_columns(api_version: &str, plural: &str) -> Vec<Column> {
    let rows = COLUMNS.lines().filter(|l| !l.starts_with('#')).filter_map(|line| {
        let mut cells = line.split('\t');
        Some((cells.next()?, cells.next()?, cells.next()?))
    });
    let mut rows = rows.filter(|(version, resource, _)| (*version, *resource) == (api_version, plural));
    rows.next().map_or_else(default_columns, |(_, _, columns)| parse(columns))
}

fn parse(columns: &str) -> Vec<Column> {
    columns.split(" | ").filter_map(Column::parse).collect()
}

/// The part of the object that each row contains (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum IncludeObject {
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the `includeObject` parameter; empty means the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(IncludeObject::Metadata),
            "None" => Some(IncludeObject::None),
            "Object" => Some(IncludeObject::Object),
            _ => None,
        }
    }
}

/// A row: the cells and the part of the object that `include` selects. The object has resourceVersion, apiVersion and
/// kind.
pub fn row(cells: Vec<Value>, object: Value, include: IncludeObject) -> Value {
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_object_metadata(object),
        IncludeObject::Object => object,
    };
    json!({"cells": cells, "object": object})
}

/// A table. `metadata` is the list's (resourceVersion, continue, remainingItemCount) or the object's. Watch events
/// after the first have no column definitions.
pub fn table(columns: Option<&[Column]>, rows: Vec<Value>, metadata: Value) -> Value {
    let definitions: Value = columns.map_or(Value::Null, |c| c.iter().map(Column::to_value).collect());
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// A PartialObjectMetadata of an object.
pub fn partial_object_metadata(mut object: Value) -> Value {
    let metadata = object.get_mut("metadata").map_or_else(|| json!({}), Value::take);
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
