//! Parses an expression: the `cel` crate's parser makes the syntax tree, which is resolved to nodes.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, StructExpr, operators,
};
use cel::parser::Parser;

use super::errors::{ERRORS_MAX, Errors};
use super::node::{Each, EachKind, Entry, FieldNode, Kind, Node};
use super::value::Literal;
use super::{CompileError, Names};

/// Code points of an expression, as upstream bounds it.
const EXPRESSION_MAX: usize = 100_000;
/// Nodes of an expression. One of the greatest length has fewer, because the parser's macros copy none.
const NODES_MAX: usize = 100_000;

/// Nested nodes of an expression and the ones that it names, which are evaluated when it needs their values: there is stack for
/// these in a debug build, too. Values nest no deeper.
const COMPOSED_DEPTH_MAX: usize = 250;

/// Parses and resolves an expression. Its depth is the other result.
pub(super) fn parse(source: &str, names: &dyn Names) -> Result<(Node, usize), CompileError> {
    let size = source.chars().count();
    if size > EXPRESSION_MAX {
        // Upstream has no location for it.
        return Err(CompileError::plain(format!(
            "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {size}, limit {EXPRESSION_MAX}"
        )));
    }
    if !super::depth::is_bounded(source) {
        let mut errors = Errors::default();
        errors.push(0, "expression recursion limit exceeded: 100".to_owned());
        return Err(errors.of(source));
    }
    let parser = Parser::new().enable_optional_syntax(true);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|errors| {
        let found = errors.errors.iter().map(|error| (error.pos, error.msg.as_str()));
        let mut errors = Errors::default();
        // Upstream's parser gives up at the error that is one too many.
        for ((line, column), message) in super::syntax::messages(found).into_iter().take(ERRORS_MAX + 1) {
            // As upstream, nothing ends before its first column.
            let column = if source.is_empty() { 0 } else { column as usize };
            errors.push_at((line as usize, column), message);
        }
        errors.of(source)
    })?;
    resolve(source, (&tree, &info), names, NODES_MAX)
}

fn resolve(
    source: &str,
    (tree, info): (&IdedExpr, &SourceInfo),
    names: &dyn Names,
    nodes_max: usize,
) -> Result<(Node, usize), CompileError> {
    let mut resolver = Resolver {
        names,
        info,
        locals: Vec::new(),
        errors: Errors::default(),
        nodes_left: nodes_max,
        has_too_many: false,
        depth: 0,
        deepest: 0,
        made: 0,
    };
    let node = resolver.node(tree);
    if resolver.has_too_many {
        return Err(CompileError::plain(format!("expression exceeds {nodes_max} nodes")));
    }
    if resolver.deepest > COMPOSED_DEPTH_MAX {
        resolver.errors.push(0, format!("variables are nested more than {COMPOSED_DEPTH_MAX} levels deep"));
    }
    if resolver.errors.is_empty() { Ok((node, resolver.deepest)) } else { Err(resolver.errors.of(source)) }
}

struct Resolver<'a> {
    names: &'a dyn Names,
    info: &'a SourceInfo,
    locals: Vec<String>,
    errors: Errors,
    nodes_left: usize,
    /// Whether nodes were left out.
    has_too_many: bool,
    depth: usize,
    /// The depth of the deepest node, of this expression or of one that it names.
    deepest: usize,
    /// Nodes that were made.
    made: u32,
}

impl Resolver<'_> {
    fn at(&self, id: u64) -> u32 {
        self.info.offset_for(id).map_or(0, |(start, _)| start)
    }

    fn make(&mut self, id: u64, kind: Kind) -> Node {
        self.made += 1;
        Node { id: self.made - 1, at: self.at(id), kind }
    }

    fn node(&mut self, expr: &IdedExpr) -> Node {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let node = self.bounded_node(expr);
        self.depth -= 1;
        node
    }

    fn bounded_node(&mut self, expr: &IdedExpr) -> Node {
        if self.nodes_left == 0 {
            // Whatever else is found does not matter.
            self.has_too_many = true;
            return self.make(expr.id, Kind::Const(Literal::Null));
        }
        self.nodes_left -= 1;
        let kind = match &expr.expr {
            Expr::Unspecified => Kind::Const(Literal::Null),
            Expr::Literal(value) => Kind::Const(literal(value)),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => return self.select(expr.id, select),
            Expr::Call(call) => return self.call(expr.id, call),
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.node(item)).collect();
                Kind::List(items, list.optional_indices.clone())
            }
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let (key, value) = (self.node(&entry.key), self.node(&entry.value));
                        entries.push(Entry { key, value, optional: entry.optional });
                    }
                }
                Kind::Map(entries)
            }
            Expr::Struct(object) => self.object(expr.id, object),
            Expr::Comprehension(comprehension) => self.comprehension(expr.id, comprehension),
        };
        self.make(expr.id, kind)
    }

    fn name(&self, name: &str) -> Kind {
        if let Some(depth) = self.locals.iter().rposition(|local| local == name) {
            return Kind::Local(depth);
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        match (self.names.variable(plain), type_name(plain)) {
            (Some(index), _) => Kind::Var(index),
            (None, Some(ty)) => Kind::TypeName(ty),
            (None, None) => Kind::Unknown(plain.to_owned()),
        }
    }

    fn select(&mut self, id: u64, select: &cel::common::ast::SelectExpr) -> Node {
        if let Expr::Ident(name) = &select.operand.expr
            && name == "variables"
            && !self.locals.contains(name)
            && self.names.composes()
        {
            let kind = match self.names.composed(&select.field) {
                Some(_) if select.test => Kind::Const(Literal::Bool(true)),
                Some(index) => {
                    self.deepest = self.deepest.max(self.depth + self.names.composed_depth(index));
                    Kind::Composed(index)
                }
                None => {
                    self.errors.push(self.at(id), format!("undefined field '{}'", select.field));
                    Kind::Const(Literal::Null)
                }
            };
            return self.make(id, kind);
        }
        if let Some(qualified) = qualified(&select.operand).map(|of| format!("{of}.{}", select.field))
            && !select.test
            && let Some(index) = self.names.variable(&qualified)
        {
            return self.make(id, Kind::Var(index));
        }
        let of = Box::new(self.node(&select.operand));
        let field = select.field.clone();
        self.make(id, Kind::Select { of, field, test: select.test, optional: false })
    }

    fn object(&mut self, id: u64, object: &StructExpr) -> Kind {
        let name = object.type_name.trim_start_matches('.');
        if !self.names.has_object(name) {
            let message = format!("undeclared reference to '{name}' (in container '')");
            self.errors.push(self.at(id), message);
        }
        let mut fields = Vec::new();
        for entry in &object.entries {
            if let EntryExpr::StructField(field) = &entry.expr {
                let (name, value) = (field.field.clone(), self.node(&field.value));
                fields.push(FieldNode { name, at: self.at(entry.id), value, optional: field.optional });
            }
        }
        Kind::Object(name.to_owned(), fields)
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Node {
        let args = &call.args;
        let pair = |resolver: &mut Self| Box::new((resolver.node(&args[0]), resolver.node(&args[1])));
        let kind = match (call.func_name.as_str(), args.len()) {
            (operators::LOGICAL_AND, 2) => Kind::And(pair(self)),
            (operators::LOGICAL_OR, 2) => Kind::Or(pair(self)),
            (operators::CONDITIONAL, 3) => {
                let (test, yes, no) = (self.node(&args[0]), self.node(&args[1]), self.node(&args[2]));
                Kind::If(Box::new((test, yes, no)))
            }
            (operators::OPT_SELECT, 2) => {
                let of = Box::new(self.node(&args[0]));
                let field = match &args[1].expr {
                    Expr::Literal(LiteralValue::String(name)) => name.inner().to_owned(),
                    _ => String::new(),
                };
                Kind::Select { of, field, test: false, optional: true }
            }
            _ => match self.macro_call(id, call) {
                Some(kind) => kind,
                None => self.plain_call(call),
            },
        };
        self.make(id, kind)
    }

    fn plain_call(&mut self, call: &CallExpr) -> Kind {
        // `cel.lib.f(x)`: a namespaced function is a member call whose target is a name.
        let mut function = call.func_name.clone();
        let mut target = call.target.as_deref();
        if let Some(prefix) = target.and_then(qualified)
            && self.names.has_function(&format!("{prefix}.{function}"))
            && !self.locals.contains(&prefix)
        {
            function = format!("{prefix}.{function}");
            target = None;
        }
        let target = target.map(|target| Box::new(self.node(target)));
        let args = call.args.iter().map(|arg| self.node(arg)).collect();
        Kind::Call { function, target, args }
    }

    /// Macros of the optional, two-variable and lists libraries, which the parser leaves as calls.
    fn macro_call(&mut self, id: u64, call: &CallExpr) -> Option<Kind> {
        let target = call.target.as_deref()?;
        let (name, args) = (call.func_name.as_str(), &call.args);
        match (name, args.len()) {
            ("optMap" | "optFlatMap", 2) => {
                let of = Box::new(self.node(target));
                let variables = self.variables(id, &args[..1])?;
                let body = Box::new(self.scoped(variables, &args[1]));
                Some(Kind::OptMap { of, body, flat: name == "optFlatMap" })
            }
            ("sortBy", 2) => {
                let of = self.node(target);
                let variables = self.variables(id, &args[..1])?;
                let body = self.scoped(variables, &args[1]);
                let each = Each { what: EachKind::SortBy, of, two: false, filter: None, body };
                Some(Kind::Each(Box::new(each)))
            }
            ("all" | "exists" | "existsOne" | "exists_one", 3)
            | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
                let what = match name {
                    "all" => EachKind::All,
                    "exists" => EachKind::Exists,
                    "existsOne" | "exists_one" => EachKind::ExistsOne,
                    "transformList" => EachKind::Map,
                    "transformMap" => EachKind::TransformMap,
                    _ => EachKind::TransformMapEntry,
                };
                let of = self.node(target);
                let variables = self.variables(id, &args[..2])?;
                let filter = (args.len() == 4).then(|| self.scoped(variables.clone(), &args[2]));
                let body = self.scoped(variables, &args[args.len() - 1]);
                Some(Kind::Each(Box::new(Each { what, of, two: true, filter, body })))
            }
            _ => None,
        }
    }

    fn variables(&mut self, id: u64, args: &[IdedExpr]) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for arg in args {
            match &arg.expr {
                Expr::Ident(name) => names.push(name.clone()),
                _ => {
                    self.errors.push(self.at(arg.id.max(id)), "argument must be a simple name".to_owned());
                    return None;
                }
            }
        }
        Some(names)
    }

    fn scoped(&mut self, variables: Vec<String>, expr: &IdedExpr) -> Node {
        let depth = self.locals.len();
        self.locals.extend(variables);
        let node = self.node(expr);
        self.locals.truncate(depth);
        node
    }

    /// A macro that the parser has expanded, which its steps identify.
    fn comprehension(&mut self, _id: u64, c: &ComprehensionExpr) -> Kind {
        let of = self.node(&c.iter_range);
        let variables = vec![c.iter_var.clone()];
        let each = |resolver: &mut Self, what, filter: Option<&IdedExpr>, body: &IdedExpr| {
            let filter = filter.map(|filter| resolver.scoped(variables.clone(), filter));
            let body = resolver.scoped(variables.clone(), body);
            (what, filter, body)
        };
        let call = |expr: &'_ IdedExpr| match &expr.expr {
            Expr::Call(call) => Some(call.clone()),
            _ => None,
        };
        let Some(step) = call(&c.loop_step) else { return Kind::Const(Literal::Null) };
        let element = |call: &CallExpr| match call.args.get(1).map(|list| &list.expr) {
            Some(Expr::List(list)) => list.elements.first().cloned(),
            _ => None,
        };
        let (what, filter, body) = match step.func_name.as_str() {
            operators::LOGICAL_AND => each(self, EachKind::All, None, &step.args[1]),
            operators::LOGICAL_OR => each(self, EachKind::Exists, None, &step.args[1]),
            operators::ADD => match element(&step) {
                Some(body) => each(self, EachKind::Map, None, &body),
                None => return Kind::Const(Literal::Null),
            },
            _ => {
                let taken = call(&step.args[1]);
                match taken.as_ref().and_then(element) {
                    Some(body) if matches!(&body.expr, Expr::Ident(name) if *name == c.iter_var) => {
                        // `filter`, or `map` with a filter that keeps elements: both mean the same.
                        each(self, EachKind::Filter, Some(&step.args[0]), &body)
                    }
                    Some(body) => each(self, EachKind::Map, Some(&step.args[0]), &body),
                    None => each(self, EachKind::ExistsOne, None, &step.args[0]),
                }
            }
        };
        Kind::Each(Box::new(Each { what, of, two: false, filter, body }))
    }
}

/// The name that an expression spells: `a.b`.
fn qualified(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified(&select.operand)?, select.field))
        }
        _ => None,
    }
}

fn literal(value: &LiteralValue) -> Literal {
    match value {
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Bytes(value) => Literal::Bytes(value.inner().into()),
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::Null => Literal::Null,
        LiteralValue::String(value) => Literal::Text(value.inner().into()),
        LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
    }
}

fn type_name(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 10] =
        ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
    NAMES.into_iter().find(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::Environment;

    #[test]
    fn too_many_nodes_are_one_error() {
        let source = format!("[{}]", vec!["variables.none"; 1_000].join(","));
        let parsed = Parser::new().parse_with_source_info(&source).unwrap();
        let names = Environment::default().composing();
        let refused = |max| resolve(&source, (&parsed.0, &parsed.1), &names, max).unwrap_err().to_string();
        assert_eq!(refused(500), "expression exceeds 500 nodes");
        assert!(refused(NODES_MAX).ends_with("900 more errors were truncated"));
    }

    #[test]
    fn long_expressions_are_refused() {
        let refused =
            |source: &str| parse(source, &Environment::default()).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(refused(&format!("'{}'", "\u{e4}".repeat(EXPRESSION_MAX - 2))), Ok(()));
        let expected =
            "ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000";
        assert_eq!(refused(&"1".repeat(EXPRESSION_MAX + 1)), Err(expected.to_owned()));
    }
}
