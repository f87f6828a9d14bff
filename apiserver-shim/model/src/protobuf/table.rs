//! The messages, read once from `data/protobuf.tsv`. The file says how to read it.

use super::wire::{Wire, write_bytes, write_tag};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../../data/protobuf.tsv");

/// The embedded structs that a field of a message belongs to, outermost first: their Go names and their messages.
/// Only errors need them: the table is searched.
pub(crate) fn embedded(message: &str, field: &str) -> Vec<(&'static str, String)> {
    let members = |name: &str| {
        let mut rows = TABLE.lines().filter_map(|line| line.split_once('\t'));
        rows.find(|(message, _)| *message == name).map_or("", |(_, members)| members).split(' ')
    };
    let package = message.rsplit_once('.').map_or("", |(package, _)| package);
    let structs = members(message).filter_map(|member| member.strip_prefix("+/")?.split_once('='));
    structs
        .filter_map(|(go_name, ty)| {
            let ty = ty.trim_start_matches(|c: char| c.is_ascii_digit()).trim_matches(['*', '?']);
            let ty = if ty.contains('.') { ty.to_owned() } else { format!("{package}.{ty}") };
            let has_field = members(&ty).any(|member| member.split(['=', '/']).next() == Some(field));
            let inner = embedded(&ty, field);
            (has_field || !inner.is_empty()).then(|| [vec![(go_name, ty)], inner].concat())
        })
        .next()
        .unwrap_or_default()
}

/// A message of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId(u32);

impl MessageId {
    /// Where the message is in the table.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How the JSON of a message looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// An object with the message's fields as members.
    Object,
    /// A list of strings.
    Items,
    /// A boolean or a schema.
    OrBool,
    /// A schema or a list of them.
    OrArray,
    /// A schema or a list of strings.
    OrStrings,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    /// JSON text: raw extensions and field sets.
    Json,
    Message(MessageId),
}

/// Whether a field has one value or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    One,
    List,
    Map,
}

/// A field of a message.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// JSON name; `+` if the message is embedded in its parent.
    pub name: &'static str,
    /// The name in Go, if it is not the JSON name with a capital.
    go_name: Option<&'static str>,
    pub number: u32,
    pub kind: Kind,
    pub arity: Arity,
    /// The value may be absent; others are always written, if only as zero.
    pub pointer: bool,
    /// A zero is left out of the JSON.
    pub omitted: bool,
}

impl Field {
    /// Whether the members of the field's message are members of the JSON object around it.
    pub fn is_embedded(&self) -> bool {
        self.name == "+"
    }

    /// The message of an embedded struct.
    pub fn embedded_message(&self) -> Option<MessageId> {
        match self.kind {
            Kind::Message(inner) if self.is_embedded() => Some(inner),
            _ => None,
        }
    }

    /// The name in Go, which errors have.
    pub fn go_name(&self) -> String {
        let mut rest = self.name.chars();
        let capital = || rest.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(rest).collect();
        self.go_name.map_or_else(capital, str::to_owned)
    }

    /// Whether the field is written even if the JSON has no such member.
    fn is_always_written(&self) -> bool {
        self.arity == Arity::One && !self.pointer && self.kind != Kind::Bytes
    }

    /// How the field's value is written.
    pub fn wire(&self) -> Wire {
        match self.kind {
            _ if self.arity == Arity::Map => Wire::Bytes,
            Kind::Bool | Kind::Int32 | Kind::Int64 => Wire::Varint,
            Kind::Double => Wire::Fixed64,
            _ => Wire::Bytes,
        }
    }
}

/// A field that is a member of the message's JSON object, directly or through embedded messages.
#[derive(Debug)]
pub(super) struct Leaf {
    pub field: Field,
    /// The field with the value zero if it is always written, else empty.
    pub zero: Vec<u8>,
}

/// How a message is put together, in the order of the fields' numbers.
#[derive(Debug)]
pub(super) enum Step {
    /// The next leaf.
    Leaf(u16),
    /// An embedded message of this many of the following steps.
    Embedded { number: u32, steps: usize },
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// Package and name: `core.v1.Pod`.
    pub name: &'static str,
    pub form: Form,
    /// The message's own fields, by number.
    pub fields: Vec<Field>,
    /// The members of its JSON object, in the order in which they are written.
    pub leaves: Vec<Leaf>,
    pub steps: Vec<Step>,
    /// The message without any member.
    pub zero: Vec<u8>,
    /// The names of the leaves in order, with the leaf's index.
    names: Vec<(&'static str, u16)>,
    /// The beginning of each name as a number that sorts as the names do.
    heads: Vec<u64>,
}

impl Message {
    /// The name in Go, which errors have.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok().map(|at| &self.fields[at])
    }

    /// The leaf with this JSON name. `from` is where the search begins, and then where that for the next name in
    /// alphabetic order should begin.
    pub fn leaf(&self, name: &[u8], from: &mut usize) -> Option<u16> {
        let wanted = head(name);
        let mut at = *from;
        if at > 0 && self.heads[at - 1] >= wanted {
            at = 0;
        }
        while self.heads.get(at).is_some_and(|head| *head < wanted) {
            at += 1;
        }
        *from = at;
        while self.heads.get(at) == Some(&wanted) {
            let (known, leaf) = self.names[at];
            at += 1;
            if known.as_bytes() == name {
                *from = at;
                return Some(leaf);
            }
        }
        None
    }
}

/// The first eight bytes of a name as a number, which sorts as the names do.
fn head(name: &[u8]) -> u64 {
    match name.first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => (0..8).fold(0, |head, i| head << 8 | u64::from(name.get(i).copied().unwrap_or(0))),
    }
}

/// All messages.
#[derive(Debug)]
pub(super) struct Table {
    messages: Vec<Message>,
    names: BTreeMap<&'static str, MessageId>,
    /// The message that the unions of schemas contain.
    pub json_schema: MessageId,
}

impl Table {
    /// The messages of the built-in groups.
    pub fn builtin() -> &'static Table {
        static BUILTIN: LazyLock<Table> = LazyLock::new(Table::read);
        &BUILTIN
    }

    /// The message with this package and name.
    pub fn find(&self, name: &str) -> Option<MessageId> {
        self.names.get(name).copied()
    }

    /// The message with this index.
    pub fn at(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// The indexes of all messages, ascending.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        (0..self.messages.len() as u32).map(MessageId)
    }

    #[cfg(test)]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn read() -> Table {
        let rows: Vec<(&str, &str)> =
            TABLE.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once('\t')).collect();
        let names: BTreeMap<_, _> =
            rows.iter().enumerate().map(|(at, (name, _))| (*name, MessageId(at as u32))).collect();
        let mut messages: Vec<Message> =
            rows.iter().map(|(name, cells)| message(name, cells, &names)).collect();
        // Lists of strings are nil in Go if they are absent, and then not written.
        let items: Vec<bool> = messages.iter().map(|message| message.form == Form::Items).collect();
        for field in messages.iter_mut().flat_map(|message| &mut message.fields) {
            field.pointer |= matches!(field.kind, Kind::Message(id) if items[id.0 as usize]);
        }
        let json_schema = names["apiextensions.v1.JSONSchemaProps"];
        let mut table = Table { messages, names, json_schema };
        for at in 0..table.messages.len() {
            table.complete(MessageId(at as u32));
        }
        table
    }

    /// Fills in what depends on other messages: the leaves, steps and zero of a message.
    fn complete(&mut self, id: MessageId) {
        if !self.at(id).names.is_empty() || self.at(id).fields.is_empty() {
            return;
        }
        // Messages that are always written, and embedded ones, are values in Go, which cannot contain themselves.
        for field in self.at(id).fields.clone() {
            if let (Kind::Message(inner), true) = (field.kind, field.is_always_written()) {
                self.complete(inner);
            }
        }
        let (mut leaves, mut steps) = (Vec::new(), Vec::new());
        self.flatten(id, &mut leaves, &mut steps);
        let mut names: Vec<_> =
            leaves.iter().enumerate().map(|(at, leaf)| (leaf.field.name, at as u16)).collect();
        names.sort_unstable();
        let mut zero = Vec::new();
        for field in self.at(id).fields.iter().filter(|f| f.is_always_written()) {
            zero.extend_from_slice(&self.zero_field(field));
        }
        let message = &mut self.messages[id.0 as usize];
        message.heads = names.iter().map(|(name, _)| head(name.as_bytes())).collect();
        (message.leaves, message.steps, message.names, message.zero) = (leaves, steps, names, zero);
    }

    fn flatten(&self, id: MessageId, leaves: &mut Vec<Leaf>, steps: &mut Vec<Step>) {
        for field in &self.at(id).fields {
            match field.kind {
                Kind::Message(inner) if field.is_embedded() => {
                    let at = steps.len();
                    steps.push(Step::Embedded { number: field.number, steps: 0 });
                    self.flatten(inner, leaves, steps);
                    steps[at] = Step::Embedded { number: field.number, steps: steps.len() - at - 1 };
                }
                _ => {
                    steps.push(Step::Leaf(leaves.len() as u16));
                    let always = field.is_always_written();
                    let zero = if always { self.zero_field(field) } else { Vec::new() };
                    leaves.push(Leaf { field: field.clone(), zero });
                }
            }
        }
    }

    fn zero_field(&self, field: &Field) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_zero(&mut out, field.number, field.kind);
        out
    }

    /// Appends a field with the value that Go has in place of an absent one.
    pub fn write_zero(&self, out: &mut Vec<u8>, number: u32, kind: Kind) {
        match kind {
            Kind::Bool | Kind::Int32 | Kind::Int64 => {
                write_tag(out, number, Wire::Varint);
                out.push(0);
            }
            Kind::Double => {
                write_tag(out, number, Wire::Fixed64);
                out.extend_from_slice(&[0; 8]);
            }
            Kind::Text | Kind::Bytes | Kind::Time | Kind::MicroTime | Kind::Json => {
                write_bytes(out, number, b"");
            }
            Kind::Quantity => write_bytes(out, number, b"\x0a\x010"),
            Kind::IntOrString => write_bytes(out, number, &[0x08, 0, 0x10, 0, 0x1a, 0]),
            Kind::Message(inner) => match self.at(inner).form {
                Form::OrBool => write_bytes(out, number, &[0x08, 0]),
                _ => write_bytes(out, number, &self.at(inner).zero),
            },
        }
    }
}

fn message(name: &'static str, cells: &'static str, names: &BTreeMap<&'static str, MessageId>) -> Message {
    let form = match cells {
        "items" => Form::Items,
        "or-bool" => Form::OrBool,
        "or-array" => Form::OrArray,
        "or-strings" => Form::OrStrings,
        _ => Form::Object,
    };
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    let cells = cells.split(' ').filter(|_| form == Form::Object);
    let fields = cells.filter_map(|cell| field(cell, package, names)).collect();
    let (leaves, steps, zero) = (Vec::new(), Vec::new(), Vec::new());
    Message { name, form, fields, leaves, steps, zero, names: Vec::new(), heads: Vec::new() }
}

/// Reads one cell of the table. A test checks that none is skipped.
fn field(
    cell: &'static str,
    package: &'static str,
    names: &BTreeMap<&'static str, MessageId>,
) -> Option<Field> {
    let (name, rest) = cell.split_once('=')?;
    let (name, go_name) = name.split_once('/').map_or((name, None), |(name, go)| (name, Some(go)));
    let (number, ty) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
    let omitted = ty.ends_with(['?', '!']);
    let ty = ty.trim_end_matches(['?', '!']);
    let (arity, pointer, ty) = match (ty.strip_prefix("[]"), ty.strip_prefix("{}"), ty.strip_prefix('*')) {
        (Some(ty), _, _) => (Arity::List, false, ty),
        (_, Some(ty), _) => (Arity::Map, false, ty),
        (_, _, Some(ty)) => (Arity::One, true, ty),
        _ => (Arity::One, false, ty),
    };
    let kind = match ty {
        "s" => Kind::Text,
        "b" => Kind::Bool,
        "i" => Kind::Int32,
        "l" => Kind::Int64,
        "d" => Kind::Double,
        "y" => Kind::Bytes,
        "q" => Kind::Quantity,
        "t" => Kind::Time,
        "u" => Kind::MicroTime,
        "o" => Kind::IntOrString,
        "r" | "f" => Kind::Json,
        message if message.contains('.') => Kind::Message(*names.get(message)?),
        message => Kind::Message(*names.get(format!("{package}.{message}").as_str())?),
    };
    Some(Field { name, go_name, number: number.parse().ok()?, kind, arity, pointer, omitted })
}
