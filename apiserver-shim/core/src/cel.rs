//! The Common Expression Language as Kubernetes has it: its function libraries, optional values, a bound on the cost of an
//! evaluation, and values in JSON that are read without copying.
//!
//! A [`Program`] is an expression that was parsed by the `cel` crate, whose syntax tree is checked ([`Type`]) and evaluated
//! here, because that crate bounds neither cost nor knows types. `parse` resolves names, `overloads` has the functions
//! with their types, `check` infers types, `eval` evaluates, `functions` has the libraries. What `self` or `object` are, is
//! the caller's ([`Environment`]).

mod check;
mod declare;
mod depth;
mod errors;
mod estimate;
mod eval;
mod functions;
mod literals;
mod node;
mod numbers;
mod overloads;
mod parse;
mod sizes;
mod syntax;
mod types;
mod value;

pub use declare::declare;
pub use eval::{Activation, EvalError};
pub use functions::authorization::{AccessAttributes, Authorizer, Decision, ResourceAttributes};
pub(crate) use functions::authorization::{authorizer, request_resource};
pub use numbers::go_duration;
pub(crate) use numbers::go_float;
pub(crate) use types::is_reserved;
pub use types::{Field, Object, Type, escape, is_escapable};
pub use value::{List, Map, Val, equal};

pub(crate) use sizes::Sizes;

use std::cell::Cell;

use node::Node;

/// Units of cost of one evaluation, upstream's `PerCallLimit`: about a tenth of a second.
pub const CALL_COST_MAX: u64 = 1_000_000;
/// Units of cost of all evaluations for one object, upstream's `RuntimeCELCostBudget`.
pub const TOTAL_COST_MAX: u64 = 10_000_000;
/// Units of cost of the match conditions of one webhook or binding.
pub const MATCH_CONDITIONS_COST_MAX: u64 = 2_500_000;
/// Bytes of a message that an expression makes.
pub const MESSAGE_MAX: usize = 5 * 1024;

/// Bytes of the compiler's stack: more than twice what the deepest expression needs in a debug build. Only what is used takes
/// memory.
const COMPILER_STACK: usize = 32 << 20;

/// Why an expression is refused: one or more lines with positions, as upstream prints them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    message: String,
    stage: Stage,
}

/// When an expression is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Compilation,
    /// It compiles, and has the wrong type.
    Type,
    /// It compiles, and cannot be prepared for evaluation.
    Instantiation,
}

impl CompileError {
    /// The error of an expression whose values have none of the wanted types.
    pub(crate) fn wrong_type(wanted: &[&str], found: &str) -> CompileError {
        let wanted = match wanted {
            [wanted] => (*wanted).to_owned(),
            several => format!("one of [{}]", several.join(" ")).replace("null", "null_type"),
        };
        CompileError { message: format!("must evaluate to {wanted} but got {found}"), stage: Stage::Type }
    }

    /// Whether the expression is right as far as its text and types go.
    pub(crate) fn is_of_preparation(&self) -> bool {
        self.stage == Stage::Instantiation
    }

    /// The error as upstream reports that of a field.
    pub(crate) fn detail(&self) -> String {
        match self.stage {
            Stage::Type => self.message.clone(),
            Stage::Compilation => format!("compilation failed: {}", self.message),
            Stage::Instantiation => format!("program instantiation failed: {}", self.message),
        }
    }

    fn plain(message: impl Into<String>) -> CompileError {
        CompileError { message: message.into(), stage: Stage::Compilation }
    }
}

/// The names that expressions may use.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(String, Type)>,
    /// Named expressions: their types and depths.
    composed: Vec<(String, Type, usize)>,
    /// Whether there are named expressions, if only none of this name.
    composes: bool,
    /// The types whose objects expressions may make; `None`: no objects.
    objects: Option<ObjectTypes>,
}

/// Which objects expressions may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ObjectTypes {
    /// `Object`, `Object.spec` … and `JSONPatch`, of mutating policies.
    Patches,
}

impl Environment {
    /// Declares a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Environment {
        self.variables.push((name.to_owned(), ty));
        self
    }

    /// Gives a variable another type.
    #[must_use]
    pub fn retyped(mut self, name: &str, ty: Type) -> Environment {
        if let Some(variable) = self.variables.iter_mut().find(|(known, _)| known == name) {
            variable.1 = ty;
        }
        self
    }

    /// Declares `variables`, which has no members yet.
    #[must_use]
    pub fn composing(self) -> Environment {
        Environment { composes: true, ..self }
    }

    /// Declares `variables.name`, of any type if its expression does not compile. A later one of the same name replaces it.
    #[must_use]
    pub fn composed(mut self, name: &str, program: Option<&Program>) -> Environment {
        let (ty, depth) = program.map_or((Type::Dyn, 0), |program| (program.ty.clone(), program.depth));
        self.composed.push((name.to_owned(), ty, depth));
        self.composing()
    }

    /// Declares the same named expressions as another environment.
    #[must_use]
    pub fn composed_as(self, other: &Environment) -> Environment {
        Environment { composed: other.composed.clone(), ..self }
    }

    /// Allows expressions to make objects.
    #[must_use]
    pub fn with_objects(self, objects: ObjectTypes) -> Environment {
        Environment { objects: Some(objects), ..self }
    }

    /// The type of a variable by its index.
    pub(crate) fn type_of(&self, index: usize) -> Type {
        self.variable_type(index)
    }

    /// Parses and checks an expression.
    ///
    /// # Errors
    /// Syntax, names that are not declared, and types that do not fit.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let compile = || {
            let (node, depth) = parse::parse(source, self)?;
            let types = check::check(source, &node, self)?;
            if let Some(why) = literals::preparation_error(&node) {
                return Err(CompileError { message: why, stage: Stage::Instantiation });
            }
            let ty = types.get(node.id as usize).cloned().unwrap_or(Type::Dyn);
            Ok(Program { node, ty, types, depth })
        };
        // A panic of the parser is the expression's, not of all that the thread compiles.
        let caught = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile)).ok();
        let failed = || Err(CompileError::plain("the expression could not be compiled"));
        on_compiler_stack(caught).flatten().unwrap_or_else(failed)
    }
}

thread_local! {
    /// Whether the thread has the stack for the compiler.
    static HAS_STACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs what compiles expressions where there is the stack for it, all of them on one thread; `None` if that fails. The parser
/// recurses some hundred KiB deep for brackets that `depth` allows, and more in a debug build.
pub(crate) fn on_compiler_stack<T: Send>(run: impl FnOnce() -> T + Send) -> Option<T> {
    if HAS_STACK.get() {
        return Some(run());
    }
    let marked = || {
        HAS_STACK.set(true);
        run()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(COMPILER_STACK).spawn_scoped(scope, marked);
        thread.ok()?.join().ok()
    })
}

/// The names that the parser and checker resolve.
trait Names {
    fn variable(&self, name: &str) -> Option<usize>;
    fn variable_type(&self, index: usize) -> Type;
    /// Whether `variables` is declared.
    fn composes(&self) -> bool;
    fn composed(&self, name: &str) -> Option<usize>;
    /// Whether a function of this name may be called.
    fn has_function(&self, name: &str) -> bool;
    fn composed_type(&self, index: usize) -> Type;
    fn composed_depth(&self, index: usize) -> usize;
    fn has_object(&self, name: &str) -> bool;
    fn object_type(&self, name: &str) -> Type;
}

impl Names for Environment {
    fn variable(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|(known, _)| known == name)
    }

    fn variable_type(&self, index: usize) -> Type {
        self.variables.get(index).map_or(Type::Dyn, |(_, ty)| ty.clone())
    }

    fn composes(&self) -> bool {
        self.composes
    }

    fn composed(&self, name: &str) -> Option<usize> {
        self.composed.iter().rposition(|(known, _, _)| known == name)
    }

    fn has_function(&self, name: &str) -> bool {
        let of_patches = name.starts_with("jsonpatch.");
        overloads::is_declared(name) && (!of_patches || self.objects.is_some())
    }

    fn composed_type(&self, index: usize) -> Type {
        self.composed.get(index).map_or(Type::Dyn, |(_, ty, _)| ty.clone())
    }

    fn composed_depth(&self, index: usize) -> usize {
        self.composed.get(index).map_or(0, |(_, _, depth)| *depth)
    }

    fn has_object(&self, name: &str) -> bool {
        let is_object = name == "Object" || name.starts_with("Object.") || name == "JSONPatch";
        self.objects.is_some() && is_object
    }

    fn object_type(&self, name: &str) -> Type {
        if name == "JSONPatch" { Type::Opaque("JSONPatch") } else { Type::open_object(name) }
    }
}

/// A checked expression.
#[derive(Debug)]
pub struct Program {
    node: Node,
    ty: Type,
    /// The types of all nodes by their numbers.
    types: Vec<Type>,
    /// How deep its evaluation nests, with that of the expressions that it names.
    depth: usize,
}

impl Program {
    /// The type of its values.
    pub fn result_type(&self) -> &Type {
        &self.ty
    }

    /// Whether it uses a variable, by the variable's index in the environment.
    pub fn uses(&self, variable: usize) -> bool {
        eval::uses(&self.node, variable)
    }

    /// Whether it reads a field of a variable, as in `variable.name`.
    pub fn selects(&self, variable: usize, name: &str) -> bool {
        eval::selects(&self.node, variable, name)
    }

    /// The most that an evaluation can cost if the values of all variables have these sizes, as upstream estimates it.
    pub(crate) fn estimate(&self, sizes: &Sizes) -> u64 {
        estimate::estimate(&self.node, &self.types, sizes)
    }

    /// Which of the objects that it makes do not have the type that their place in the outermost object requires.
    pub fn misnamed_objects(&self) -> Vec<String> {
        node::misnamed_objects(&self.node)
    }

    /// Evaluates it. The cost is counted in the activation.
    ///
    /// # Errors
    /// What fails in the expression, and a cost beyond the activation's bound.
    pub fn evaluate<'v>(&self, activation: &Activation<'v>) -> Result<Val<'v>, EvalError> {
        eval::evaluate(&self.node, activation)
    }
}

#[cfg(test)]
mod tests;
