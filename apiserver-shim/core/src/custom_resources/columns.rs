//! The columns of a version's tables, and their cells.

use serde_json::Value;
use shim_model::access;
use shim_model::table::Column;
use shim_model::time::{self, Instant};

use super::json_path::{self, JsonPath};

/// A column behind the name.
#[derive(Debug, Clone, PartialEq)]
pub struct PrinterColumn {
    column: Column,
    path: JsonPath,
}

/// The columns of a version. One with a path that cannot be read spoils all, as upstream.
pub(super) fn of_version(version: &Value) -> Vec<PrinterColumn> {
    let list = access::list(version, &["additionalPrinterColumns"]);
    if list.is_empty() {
        let description = "Time since the object was created.";
        let column = Column {
            name: "Age".to_owned(),
            ty: "date".to_owned(),
            format: String::new(),
            description: description.to_owned(),
            priority: 0,
        };
        return age().map(|path| PrinterColumn { column, path }).into_iter().collect();
    }
    let columns = list.iter().map(|definition| {
        let text = |member: &str| access::text(definition, &[member]).to_owned();
        let path = text("jsonPath");
        let described = match text("description") {
            none if none.is_empty() => {
                format!("Custom resource definition column (in JSONPath format): {path}")
            }
            description => description,
        };
        let column = Column {
            name: text("name"),
            ty: text("type"),
            format: text("format"),
            description: described,
            priority: access::int(definition, &["priority"]).and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
        };
        Some(PrinterColumn { column, path: JsonPath::parse(&path)? })
    });
    columns.collect::<Option<_>>().unwrap_or_default()
}

fn age() -> Option<JsonPath> {
    JsonPath::parse(".metadata.creationTimestamp")
}

/// The columns with the name in front.
pub(super) fn table_columns(columns: &[PrinterColumn]) -> Vec<Column> {
    let name = Column {
        name: "Name".to_owned(),
        ty: "string".to_owned(),
        format: "name".to_owned(),
        description: String::new(),
        priority: 0,
    };
    [name].into_iter().chain(columns.iter().map(|column| column.column.clone())).collect()
}

impl PrinterColumn {
    /// The cell of an object; null if there is no value, or one of another type.
    pub(super) fn cell(&self, object: &Value, now: Instant) -> Value {
        let Some(value) = self.path.first(object) else { return Value::Null };
        match (self.column.ty.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("string", value) => json_path::print(value).into(),
            ("integer", Value::Number(number)) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64().map(|float| float as i64).into(),
            },
            ("number", Value::Number(number)) => number.as_f64().into(),
            ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => match Instant::parse(text) {
                Some(_) => time::age(text, now).into(),
                None => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}
