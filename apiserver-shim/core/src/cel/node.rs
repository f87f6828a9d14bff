//! An expression as it is checked and evaluated: names are resolved, and calls know their function.

use super::value::Literal;

/// An expression and where it is in the source.
#[derive(Debug)]
pub(super) struct Node {
    /// Offset of the expression in characters.
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
    Object(String, Vec<(String, Node, bool)>),
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
