//! An expression as it is checked and evaluated: names are resolved, and calls know their function.

use super::value::Literal;
use shim_model::go_quote::Quoted;

/// An expression and where it is in the source.
#[derive(Debug)]
pub(super) struct Node {
    /// Number of the node in its expression.
    pub id: u32,
    /// Offset of the expression in bytes.
    pub at: u32,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Const(Literal),
    /// A variable of the environment, by index.
    Var(usize),
    /// A variable of a comprehension, by its depth.
    Local(usize),
    /// A named expression of the environment (`variables.x`), by index.
    Composed(usize),
    /// The name of a type.
    TypeName(&'static str),
    Select {
        of: Box<Node>,
        field: String,
        test: bool,
        optional: bool,
    },
    Call {
        function: String,
        target: Option<Box<Node>>,
        args: Vec<Node>,
    },
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    If(Box<(Node, Node, Node)>),
    List(Vec<Node>, Vec<usize>),
    Map(Vec<Entry>),
    /// An object of a named type.
    Object(String, Vec<FieldNode>),
    Each(Box<Each>),
    /// `optMap` and `optFlatMap`.
    OptMap {
        of: Box<Node>,
        body: Box<Node>,
        flat: bool,
    },
    /// A name that nothing declares.
    Unknown(String),
}

/// A field of an object that an expression makes.
#[derive(Debug)]
pub(super) struct FieldNode {
    pub name: String,
    /// Offset of the colon in bytes.
    pub at: u32,
    pub value: Node,
    pub optional: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub key: Node,
    pub value: Node,
    pub optional: bool,
}

/// A macro over the elements of a list or map. Its variables are the next locals.
#[derive(Debug)]
pub(super) struct Each {
    pub what: EachKind,
    pub of: Node,
    /// Whether it has two variables: index or key, and value.
    pub two: bool,
    pub filter: Option<Node>,
    pub body: Node,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum EachKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformMap,
    TransformMapEntry,
    SortBy,
}

/// What is wrong with the types of the objects that an expression makes: within the outermost object, the type of each is named
/// after the fields that lead to it.
pub(super) fn misnamed_objects(node: &Node) -> Vec<String> {
    let mut wrong = Vec::new();
    outermost(node, &mut wrong);
    wrong
}

fn outermost(node: &Node, wrong: &mut Vec<String>) {
    match &node.kind {
        // A patch is no object, but the values of its operations may be.
        Kind::Object(name, fields) if name == "JSONPatch" => {
            fields.iter().for_each(|field| outermost(&field.value, wrong));
        }
        Kind::Object(name, _) => misnamed(node, name, wrong),
        Kind::List(items, _) => items.iter().for_each(|item| outermost(item, wrong)),
        Kind::If(parts) => [&parts.1, &parts.2].into_iter().for_each(|part| outermost(part, wrong)),
        Kind::Call { args, .. } => args.iter().for_each(|arg| outermost(arg, wrong)),
        Kind::Each(each) => outermost(&each.body, wrong),
        _ => {}
    }
}

fn misnamed(node: &Node, path: &str, wrong: &mut Vec<String>) {
    match &node.kind {
        Kind::Object(name, fields) => {
            if name != path {
                wrong.push(format!(
                    "unexpected type name {name}, expected {path}, which matches field name path from root Object type", name = Quoted(name), path = Quoted(path)));
            }
            fields.iter().for_each(|f| misnamed(&f.value, &format!("{path}.{}", f.name), wrong));
        }
        Kind::List(items, _) => items.iter().for_each(|item| misnamed(item, path, wrong)),
        Kind::Map(entries) => entries.iter().for_each(|entry| misnamed(&entry.value, path, wrong)),
        Kind::If(parts) => [&parts.1, &parts.2].into_iter().for_each(|part| misnamed(part, path, wrong)),
        _ => {}
    }
}
