//! A schema of a CRD (`JSONSchemaProps`) as a tree, with its patterns compiled.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

/// A schema. Members that are absent and those with the zero value are alike, as upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Props {
    pub ty: String,
    pub format: String,
    pub title: String,
    pub description: String,
    pub nullable: bool,
    pub default: Option<Value>,
    pub example: Option<Value>,
    pub external_docs: Option<Value>,
    pub pattern: Option<Pattern>,
    pub maximum: Option<Number>,
    pub exclusive_maximum: bool,
    pub minimum: Option<Number>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<Number>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub unique_items: bool,
    pub choices: Vec<Value>,
    pub required: Vec<String>,
    pub all_of: Vec<Props>,
    pub any_of: Vec<Props>,
    pub one_of: Vec<Props>,
    pub not: Option<Box<Props>>,
    pub items: Option<Box<Props>>,
    /// `items` as a list, which no schema may have.
    pub item_list: Vec<Props>,
    pub properties: BTreeMap<String, Props>,
    pub additional: Option<Additional>,
    pub preserve: bool,
    /// `x-kubernetes-preserve-unknown-fields: false`, which no schema may have.
    pub preserve_false: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: Option<String>,
    pub map_type: Option<String>,
    pub map_keys: Vec<String>,
    pub rules: Vec<Rule>,
    /// Keywords that no schema may have.
    pub forbidden: Vec<&'static str>,
    /// Schemas below forbidden keywords: `definitions`, `dependencies`.
    pub beneath: Vec<(String, Props)>,
}

/// `additionalProperties`.
#[derive(Clone, Debug)]
pub(super) enum Additional {
    /// Whether further properties are allowed.
    Allowed(bool),
    /// The schema of further properties.
    Schema(Box<Props>),
}

/// A pattern; `compiled` is its error if it is none.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub text: String,
    pub compiled: Result<Regex, String>,
}

/// A bound: its value, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub value: f64,
    pub written: serde_json::Number,
}

/// An entry of `x-kubernetes-validations`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

/// Keywords that JSON schema has and structural schemas do not.
const FORBIDDEN: [&str; 7] =
    ["id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"];

impl Props {
    /// Parses a schema. Members of a wrong type are ignored, because the CRD's own schema has refused them.
    pub fn parse(schema: &Value) -> Props {
        let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let count = |name: &str| schema.get(name).and_then(Value::as_i64);
        let number = |name: &str| Number::of(schema.get(name)?);
        let list = |name: &str| -> Vec<Props> {
            schema.get(name).and_then(Value::as_array).into_iter().flatten().map(Props::parse).collect()
        };
        let keyword = |name: &str| schema.get(name).filter(|value| !value.is_null());
        let pattern = text("pattern");
        Props {
            ty: text("type"),
            format: text("format"),
            title: text("title"),
            description: text("description"),
            nullable: flag("nullable"),
            default: schema.get("default").filter(|d| !d.is_null()).cloned(),
            example: keyword("example").cloned(),
            external_docs: keyword("externalDocs").cloned(),
            pattern: (!pattern.is_empty()).then(|| Pattern::compile(pattern)),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            unique_items: flag("uniqueItems"),
            choices: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            required: texts(schema.get("required")),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: keyword("not").map(|not| Box::new(Props::parse(not))),
            items: keyword("items").filter(|i| i.is_object()).map(|items| Box::new(Props::parse(items))),
            item_list: list("items"),
            properties: members(schema.get("properties"))
                .map(|(k, v)| (k.clone(), Props::parse(v)))
                .collect(),
            additional: keyword("additionalProperties").map(Additional::parse),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            preserve_false: schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list_type: keyword("x-kubernetes-list-type").and_then(Value::as_str).map(str::to_owned),
            map_type: keyword("x-kubernetes-map-type").and_then(Value::as_str).map(str::to_owned),
            map_keys: texts(schema.get("x-kubernetes-list-map-keys")),
            rules: rules(schema.get("x-kubernetes-validations")),
            forbidden: FORBIDDEN.into_iter().filter(|name| is_set(schema.get(*name))).collect(),
            beneath: beneath(schema),
        }
    }

    /// The schema as that of a whole resource, whose `apiVersion`, `kind` and `metadata` are implied.
    pub fn into_resource(mut self) -> Props {
        self.embedded = true;
        self
    }

    /// The schema of a member: its property, or that of further properties.
    pub fn child(&self, name: &str) -> Option<&Props> {
        self.properties.get(name).or_else(|| self.further())
    }

    /// The schema of properties that are not listed.
    pub fn further(&self) -> Option<&Props> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// Calls `seen` with this schema and all below it until it returns true.
    pub fn any(&self, seen: &mut dyn FnMut(&Props) -> bool) -> bool {
        if seen(self) {
            return true;
        }
        let lists = self.item_list.iter().chain(&self.all_of).chain(&self.any_of).chain(&self.one_of);
        let single = self.items.as_deref().into_iter().chain(self.not.as_deref()).chain(self.further());
        let named = self.properties.values().chain(self.beneath.iter().map(|(_, schema)| schema));
        for schema in lists.chain(single).chain(named) {
            if schema.any(seen) {
                return true;
            }
        }
        false
    }
}

impl Additional {
    fn parse(value: &Value) -> Additional {
        match value {
            Value::Bool(allowed) => Additional::Allowed(*allowed),
            schema => Additional::Schema(Box::new(Props::parse(schema))),
        }
    }
}

impl Pattern {
    fn compile(text: String) -> Pattern {
        let compiled = crate::go_regex::compile(&text).map_err(|error| error.to_string());
        Pattern { text, compiled }
    }
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        let Value::Number(written) = value else { return None };
        Some(Number { value: written.as_f64()?, written: written.clone() })
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn members(object: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    object.and_then(Value::as_object).into_iter().flatten()
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => true,
    }
}

fn beneath(schema: &Value) -> Vec<(String, Props)> {
    let mut all = Vec::new();
    for keyword in ["definitions", "dependencies"] {
        for (name, below) in members(schema.get(keyword)).filter(|(_, below)| below.is_object()) {
            all.push((format!("{keyword}[{name}]"), Props::parse(below)));
        }
    }
    all
}

fn rules(list: Option<&Value>) -> Vec<Rule> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.map(Rule::parse).collect()
}

impl Rule {
    fn parse(rule: &Value) -> Rule {
        let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: rule.get("reason").and_then(Value::as_str).map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }
}

impl Props {
    /// Whether no keyword is set.
    pub fn is_empty(&self) -> bool {
        let texts = [&self.ty, &self.format, &self.title, &self.description];
        let counts = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        let flags = [
            self.nullable,
            self.exclusive_maximum,
            self.exclusive_minimum,
            self.unique_items,
            self.preserve,
            self.embedded,
            self.int_or_string,
        ];
        let lists = [&self.all_of, &self.any_of, &self.one_of, &self.item_list];
        let values = [&self.default, &self.example, &self.external_docs];
        texts.iter().all(|text| text.is_empty())
            && counts.iter().all(Option::is_none)
            && !flags.contains(&true)
            && lists.iter().all(|list| list.is_empty())
            && values.iter().all(|value| value.is_none())
            && [&self.maximum, &self.minimum, &self.multiple_of].iter().all(|number| number.is_none())
            && self.pattern.is_none()
            && self.not.is_none()
            && self.items.is_none()
            && self.properties.is_empty()
            && self.additional.is_none()
            && self.choices.is_empty()
            && self.required.is_empty()
            && self.map_keys.is_empty()
            && self.rules.is_empty()
            && self.list_type.is_none()
            && self.map_type.is_none()
    }
}
