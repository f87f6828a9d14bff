//! Validation of values by a schema's keywords. Messages and their order are those of upstream's validator, which also
//! chooses the alternative of `anyOf` and `oneOf` to report by the number of checks that succeeded.

mod numbers;

use serde_json::Value;
use shim_model::field::{Fault, FieldError};

use super::correlation::Correlated;
use super::formats;
use super::path::Path;
use super::props::{Additional, Props};

/// The errors of a value at `path`, and `correlated`, the value that it replaces.
pub(super) fn validate(
    schema: &Props,
    value: &Value,
    path: &Path<'_>,
    correlated: Option<&Correlated<'_>>,
    errors: &mut Vec<FieldError>,
) {
    let outcome = Checker { prefix: "" }.ratcheted(schema, value, path, correlated);
    errors.extend(outcome.errors);
}

/// The same for a value at the path `prefix`, which messages do not name.
pub(super) fn validate_below(
    prefix: &str,
    schema: &Props,
    value: &Value,
    correlated: Option<&Correlated<'_>>,
    errors: &mut Vec<FieldError>,
) {
    let outcome = Checker { prefix }.ratcheted(schema, value, &Path::ROOT, correlated);
    errors.extend(outcome.errors);
}

/// The errors of a check, and how many checks succeeded.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    matches: u64,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

#[derive(Clone, Copy)]
struct Checker<'p> {
    prefix: &'p str,
}

/// The type names of a schema.
fn types(schema: &Props) -> &[&str] {
    if schema.int_or_string {
        return &["integer", "string"];
    }
    match schema.ty.as_str() {
        "string" => &["string"],
        "integer" => &["integer"],
        "number" => &["number"],
        "boolean" => &["boolean"],
        "object" => &["object"],
        "array" => &["array"],
        _ => &[],
    }
}

/// The schema's format, if it is one that is checked for its type.
fn format(schema: &Props) -> &str {
    let known = match types(schema) {
        ["integer"] => matches!(schema.format.as_str(), "int32" | "int64"),
        ["number"] => matches!(schema.format.as_str(), "float" | "double"),
        ["string"] | [] | ["integer", "string"] => formats::is_known(&schema.format),
        _ => false,
    };
    if known { &schema.format } else { "" }
}

/// The type of a value, and its format.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
    }
}

impl Checker<'_> {
    fn ratcheted(
        self,
        schema: &Props,
        value: &Value,
        path: &Path<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> Outcome {
        let mut outcome = self.check(schema, value, path, correlated);
        if !outcome.is_valid() && correlated.is_some_and(Correlated::is_unchanged) {
            outcome.errors.clear();
        }
        outcome
    }

    /// The field of an error at a path.
    fn field(self, path: &Path<'_>) -> String {
        let name = path.plain();
        match (self.prefix, name.as_str()) {
            ("", "") => "<nil>".to_owned(),
            ("", _) => name,
            (prefix, "") => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }

    /// An error whose message names the path.
    fn error(self, path: &Path<'_>, shown: Value, says: &str) -> FieldError {
        FieldError::invalid(self.field(path), shown, format!("{} in body {says}", path.plain()))
    }

    /// An error that is about no field.
    fn general(self, says: String) -> FieldError {
        let field = if self.prefix.is_empty() { "<nil>" } else { self.prefix };
        FieldError::invalid(field, "", says)
    }

    fn wrong_type(self, path: &Path<'_>, wanted: &str, found: &str) -> FieldError {
        let says = format!("must be of type {wanted}: {}", Value::from(found));
        FieldError { fault: Fault::TypeInvalid, ..self.error(path, found.into(), &says) }
    }

    fn check(
        self,
        schema: &Props,
        value: &Value,
        path: &Path<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> Outcome {
        let mut all = Outcome::default();
        if value.is_null() {
            all.merge(self.null(schema, path));
            all.errors.extend(self.choices(schema, value, path));
            return all;
        }
        if !types(schema).is_empty() || !format(schema).is_empty() {
            match self.type_error(schema, value, path) {
                Some(error) => all.errors.push(error),
                None => all.matches += 1,
            }
            all.matches += 1;
        }
        all.merge(self.alternatives(schema, value, path, correlated));
        all.matches += 1;
        match value {
            Value::String(text) => {
                all.errors.extend(self.string(schema, text, path));
                all.matches += 1;
                let format = format(schema);
                if formats::is_known(format) {
                    let valid = formats::is_valid(format, text);
                    all.errors.extend((!valid).then(|| self.wrong_type(path, format, text)));
                    all.matches += 1;
                }
            }
            Value::Number(number) => {
                all.errors.extend(numbers::check(self, schema, number, path));
                all.matches += 2;
            }
            Value::Array(items) => {
                all.merge(self.list(schema, items, path, correlated));
                all.matches += 1;
            }
            _ => {}
        }
        all.errors.extend(self.choices(schema, value, path));
        all.matches += 1;
        if let Value::Object(members) = value {
            all.merge(self.object(schema, members, path, correlated));
            all.matches += 1;
        }
        all.matches += 1;
        all
    }

    fn null(self, schema: &Props, path: &Path<'_>) -> Outcome {
        let types = types(schema);
        if types.is_empty() || schema.nullable {
            return Outcome { matches: 1, ..Outcome::default() };
        }
        Outcome { errors: vec![self.wrong_type(path, &types.join(","), "null")], matches: 0 }
    }

    fn type_error(self, schema: &Props, value: &Value, path: &Path<'_>) -> Option<FieldError> {
        let (types, wanted) = (types(schema), format(schema));
        let (found, found_format) = type_of(value);
        let has = |ty: &str| types.contains(&ty);
        let whole = value.as_f64().is_some_and(numbers::is_json_integer);
        let number = found == "number" && whole && has("integer") || found == "integer" && has("number");
        let text_or_list = value.is_string() || value.is_array();
        let fits = has(found) || found_format == wanted || number;
        if !(text_or_list || wanted.is_empty() || fits) {
            return Some(self.wrong_type(path, wanted, found_format));
        }
        let numeric = has("number") || has("integer");
        if text_or_list && !numeric && !wanted.is_empty() {
            return None;
        }
        (!(has(found) || number)).then(|| self.wrong_type(path, &types.join(","), found))
    }

    fn string(self, schema: &Props, text: &str, path: &Path<'_>) -> Option<FieldError> {
        let length = || text.chars().count() as i64;
        if let Some(most) = schema.max_length.filter(|most| length() > *most) {
            return Some(FieldError::too_long(self.field(path), usize::try_from(most).unwrap_or(0)));
        }
        if let Some(least) = schema.min_length.filter(|least| length() < *least) {
            let says = format!("should be at least {least} chars long");
            return Some(self.error(path, text.into(), &says));
        }
        let pattern = schema.pattern.as_ref()?;
        let says = match &pattern.compiled {
            Ok(regex) if regex.is_match(text) => return None,
            Ok(_) => format!("should match '{}'", pattern.text),
            Err(why) => format!("should match '{}, but pattern is invalid: {why}'", pattern.text),
        };
        Some(self.error(path, text.into(), &says))
    }

    fn choices(self, schema: &Props, value: &Value, path: &Path<'_>) -> Option<FieldError> {
        let same = |choice: &Value| match (choice, value) {
            (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (a, b) => a == b,
        };
        // A null is never equal to a choice, as upstream.
        if schema.choices.is_empty() || !value.is_null() && schema.choices.iter().any(same) {
            return None;
        }
        let choices: Vec<String> =
            schema.choices.iter().map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned)).collect();
        let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
        Some(FieldError::not_supported(self.field(path), value.clone(), &choices))
    }

    fn list(
        self,
        schema: &Props,
        items: &[Value],
        path: &Path<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> Outcome {
        let mut all = Outcome { matches: 1, ..Outcome::default() };
        if let Some(schema) = &schema.items {
            for (at, item) in items.iter().enumerate() {
                let old = correlated.and_then(|c| c.index(at));
                all.merge(self.ratcheted(schema, item, &path.index(at), old.as_ref()));
            }
        }
        let size = items.len() as i64;
        if let Some(least) = schema.min_items.filter(|least| size < *least) {
            all.errors.push(self.error(path, size.into(), &format!("should have at least {least} items")));
        }
        if let Some(most) = schema.max_items.filter(|most| size > *most) {
            let most = usize::try_from(most).unwrap_or(0);
            all.errors.push(FieldError::too_many(self.field(path), items.len(), most));
        }
        if schema.unique_items && items.iter().enumerate().any(|(at, item)| items[..at].contains(item)) {
            all.errors.push(self.error(path, "".into(), "shouldn't contain duplicates"));
        }
        all
    }

    fn object(
        self,
        schema: &Props,
        members: &serde_json::Map<String, Value>,
        path: &Path<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> Outcome {
        let mut all = Outcome::default();
        let size = members.len() as i64;
        if let Some(least) = schema.min_properties.filter(|least| size < *least) {
            let says = format!("should have at least {least} properties");
            all.errors.push(self.error(path, size.into(), &says));
        }
        if let Some(most) = schema.max_properties.filter(|most| size > *most) {
            let most = usize::try_from(most).unwrap_or(0);
            all.errors.push(FieldError::too_many(self.field(path), members.len(), most));
        }
        let further = members.iter().filter(|(name, _)| !schema.properties.contains_key(*name));
        match &schema.additional {
            Some(Additional::Allowed(false)) => all.errors.extend(further.map(|(name, _)| {
                let says = format!("{}.{name} in body is a forbidden property", path.plain());
                FieldError::invalid(self.field(path), name.as_str(), says)
            })),
            Some(Additional::Schema(schema)) => {
                for (name, value) in further {
                    let old = correlated.and_then(|c| c.field(name));
                    all.merge(self.ratcheted(schema, value, &path.child(name), old.as_ref()));
                }
            }
            _ => {}
        }
        for (name, property) in &schema.properties {
            if let Some(value) = members.get(name) {
                let old = correlated.and_then(|c| c.field(name));
                all.merge(self.ratcheted(property, value, &path.child(name), old.as_ref()));
            }
        }
        for name in schema.required.iter().filter(|name| !members.contains_key(*name)) {
            all.errors.push(FieldError::required(self.field(&path.child(name)), ""));
        }
        all
    }

    fn alternatives(
        self,
        schema: &Props,
        value: &Value,
        path: &Path<'_>,
        correlated: Option<&Correlated<'_>>,
    ) -> Outcome {
        let mut all = Outcome { matches: 1, ..Outcome::default() };
        let check = |nested: &Props| self.check(nested, value, path, correlated);
        if !schema.any_of.is_empty() {
            self.any_of(&schema.any_of, path, check, &mut all);
        }
        if !schema.one_of.is_empty() {
            self.one_of(&schema.one_of, path, check, &mut all);
        }
        if !schema.all_of.is_empty() {
            let mut valid = 0;
            for outcome in schema.all_of.iter().map(check) {
                valid += usize::from(outcome.is_valid());
                all.merge(outcome);
            }
            if valid != schema.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                let says = format!("\"{}\" must validate all the schemas (allOf){none}", path.plain());
                all.errors.push(self.general(says));
            }
        }
        if let Some(not) = &schema.not
            && check(not).is_valid()
        {
            let says = format!("\"{}\" must not validate the schema (not)", path.plain());
            all.errors.push(self.general(says));
        }
        all
    }

    fn any_of(self, of: &[Props], path: &Path<'_>, check: impl Fn(&Props) -> Outcome, all: &mut Outcome) {
        let mut best: Option<Outcome> = None;
        for outcome in of.iter().map(check) {
            if outcome.is_valid() {
                return all.merge(outcome);
            }
            if best.as_ref().is_none_or(|best| outcome.matches > best.matches) {
                best = Some(outcome);
            }
        }
        let says = format!("\"{}\" must validate at least one schema (anyOf)", path.plain());
        all.errors.push(self.general(says));
        best.into_iter().for_each(|best| all.merge(best));
    }

    fn one_of(self, of: &[Props], path: &Path<'_>, check: impl Fn(&Props) -> Outcome, all: &mut Outcome) {
        let (mut best, mut first, mut valid): (Option<Outcome>, Option<Outcome>, usize) = (None, None, 0);
        for outcome in of.iter().map(check) {
            if outcome.is_valid() {
                valid += 1;
                best = None;
                first = first.or(Some(outcome));
            } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.matches > best.matches) {
                best = Some(outcome);
            }
        }
        if valid == 1 {
            return first.into_iter().for_each(|first| all.merge(first));
        }
        let found = match valid {
            0 => "Found none valid".to_owned(),
            valid => format!("Found {valid} valid alternatives"),
        };
        let says = format!("\"{}\" must validate one and only one schema (oneOf). {found}", path.plain());
        all.errors.push(self.general(says));
        best.into_iter().for_each(|best| all.merge(best));
    }
}
