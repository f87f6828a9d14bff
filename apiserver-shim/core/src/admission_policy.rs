//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies: their compiled expressions, which requests they match, and
//! what they decide. Objects, bindings and parameters are found by the caller.

mod conditions;
pub mod matching;
mod mutate;
mod request;
pub mod type_check;
mod validate;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

use crate::cel::{
    Activation, Authorizer, CompileError, Environment, EvalError, ObjectTypes, Program, TOTAL_COST_MAX, Type,
    Val, authorizer, on_compiler_stack, request_resource,
};
pub use conditions::{Condition, MatchConditions};
use matching::MatchResources;
pub use mutate::Mutation;
pub use request::{RequestFacts, request};
pub use validate::{Decision, Validated};

/// What a policy's expressions see.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct PolicyInput<'v> {
    /// The object; null for deletions.
    pub object: &'v Value,
    /// The stored object; null for creations.
    pub old_object: &'v Value,
    /// The request, see [`request`].
    pub request: &'v Value,
    /// The namespace's object; null for cluster-scoped objects.
    pub namespace: &'v Value,
    /// The parameters; null if there are none.
    pub params: &'v Value,
    /// Who decides about access.
    pub authorizer: &'v dyn Authorizer,
}

/// An expression with its source.
#[derive(Debug)]
struct Expression {
    source: String,
    program: Result<Program, CompileError>,
}

/// A compiled policy.
#[derive(Debug)]
pub struct Policy {
    /// The name.
    pub name: String,
    /// What it matches.
    pub constraints: MatchResources,
    /// `paramKind`: API version and kind.
    pub param_kind: Option<(String, String)>,
    /// Whether its errors admit requests.
    pub ignores_failures: bool,
    /// Whether it is evaluated again after changes by later plugins.
    pub reinvoked: bool,
    conditions: MatchConditions,
    variables: Vec<(String, Expression)>,
    validations: Vec<validate::Validation>,
    annotations: Vec<(String, Expression)>,
    mutations: Vec<mutate::MutationExpression>,
}

impl Policy {
    /// How many expressions it has.
    pub fn expressions(&self) -> usize {
        let own = self.validations.len() + self.annotations.len() + self.mutations.len();
        self.conditions.len() + self.variables.len() + own
    }
}

const AUTHORIZER: &str = "authorizer";
/// The index of the namespace's object among the variables.
const NAMESPACE: usize = 3;

/// The environment of a policy's expressions: variables by index are object, oldObject, request, namespaceObject, params.
fn environment(has_params: bool) -> Environment {
    let named = |name: &str, member: &str| {
        Type::object(name, &[("group", Type::String), ("version", Type::String), (member, Type::String)])
    };
    let kind = || named("kubernetes.GroupVersionKind", "kind");
    let resource = || named("kubernetes.GroupVersionResource", "resource");
    let extra = Type::map(Type::String, Type::list(Type::String));
    let user = Type::object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", extra),
        ],
    );
    let request = Type::object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    );
    let declared = Environment::default()
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .variable("request", request)
        .variable("namespaceObject", namespace_type());
    if has_params { declared.variable("params", Type::Dyn) } else { declared }
}

/// The environment with `authorizer`, which messages have not.
fn with_authorizer(environment: Environment) -> Environment {
    let environment = environment.variable(AUTHORIZER, Type::AUTHORIZER);
    environment.variable("authorizer.requestResource", Type::RESOURCE_CHECK)
}

/// The environment for objects and parameters of known types.
fn environment_with(object: Type, params: Option<Type>) -> Environment {
    let base = with_authorizer(environment(params.is_some())).composing();
    let typed = [("object", object.clone()), ("oldObject", object)];
    let typed = typed.into_iter().chain(params.map(|params| ("params", params)));
    typed.fold(base, |environment, (name, ty)| environment.retyped(name, ty))
}

fn namespace_type() -> Type {
    let labels = || Type::map(Type::String, Type::String);
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let status = Type::object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", Type::String)],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))]);
    Type::object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

impl Expression {
    fn compile(source: &str, environment: &Environment, wanted: &[&str]) -> Expression {
        let program = environment.compile(source).and_then(|program| {
            let found = program.result_type().to_string();
            if wanted.is_empty() || wanted.contains(&found.as_str()) {
                return Ok(program);
            }
            Err(CompileError::wrong_type(wanted, &found))
        });
        Expression { source: source.to_owned(), program }
    }

    /// The error of the expression as a field's.
    fn error(&self, field: String) -> Option<FieldError> {
        let error = self.program.as_ref().err()?;
        Some(match error.is_of_preparation() {
            true => FieldError::internal(field, error.detail()),
            false => FieldError::invalid(field, self.source.as_str(), error.detail()),
        })
    }

    fn evaluate<'v>(&self, activation: &Activation<'v>) -> Result<Val<'v>, EvalError> {
        match &self.program {
            Ok(program) => program.evaluate(activation),
            Err(error) => Err(EvalError::Failed(error.detail())),
        }
    }
}

/// What is left of the cost that the evaluations for one object may have.
struct Budget(u64);

impl Budget {
    /// Evaluates an expression; an error that ends all further evaluations is the outer one.
    fn evaluate<'v>(
        &mut self,
        expression: &Expression,
        activation: &Activation<'v>,
    ) -> Result<Result<Val<'v>, String>, String> {
        let found = expression.evaluate(activation);
        match self.0.checked_sub(activation.take_cost()) {
            Some(left) => self.0 = left,
            None => {
                self.0 = 0;
                return Err("validation failed due to running out of cost budget, no further validation rules will be run".to_owned());
            }
        }
        Ok(found.map_err(|error| format!("expression '{}' resulted in error: {error}", expression.source)))
    }
}

impl Policy {
    /// Compiles the spec of a policy. Expressions that do not compile fail when they are evaluated.
    pub fn compile(object: &Value) -> Policy {
        // Without a thread for all expressions, each of them asks for its own.
        on_compiler_stack(|| Policy::compile_here(object)).unwrap_or_else(|| Policy::compile_here(object))
    }

    fn compile_here(object: &Value) -> Policy {
        let spec = &object["spec"];
        let param_kind = access::get(spec, &["paramKind"]).filter(|kind| !kind.is_null());
        let text = |value: &Value, member: &str| access::text(value, &[member]).to_owned();
        let base = environment(param_kind.is_some());
        let mutates = spec.get("mutations").is_some();
        let conditions = MatchConditions::with_environment(spec, &with_authorizer(base.clone()));
        let declared = access::list(spec, &["variables"]);
        let messages = match mutates || !declared.is_empty() {
            true => base.composing(),
            false => base,
        };
        // Each variable is added to the same environment: a copy for each would be as long as all before it.
        let mut composed = with_authorizer(messages.clone());
        let mut variables = Vec::new();
        for variable in declared {
            let expression = Expression::compile(&text(variable, "expression"), &composed, &[]);
            let name = text(variable, "name");
            composed = composed.composed(&name, expression.program.as_ref().ok());
            variables.push((name, expression));
        }
        let message_environment = messages.composed_as(&composed);
        if mutates {
            composed = composed.with_objects(ObjectTypes::Patches);
        }
        let annotation = |annotation: &Value| {
            let source = text(annotation, "valueExpression");
            (text(annotation, "key"), Expression::compile(source.trim(), &composed, &["string", "null"]))
        };
        Policy {
            name: access::text(object, &["metadata", "name"]).to_owned(),
            constraints: MatchResources::parse(&spec["matchConstraints"]),
            param_kind: param_kind.map(|kind| (text(kind, "apiVersion"), text(kind, "kind"))),
            ignores_failures: spec["failurePolicy"] == "Ignore",
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
            conditions,
            variables,
            validations: validate::compile(spec, &composed, &message_environment),
            annotations: access::list(spec, &["auditAnnotations"]).iter().map(annotation).collect(),
            mutations: mutate::compile(spec, &composed),
        }
    }

    /// The errors of its expressions.
    pub fn errors(&self) -> Vec<FieldError> {
        let mut errors = self.conditions.errors("spec.");
        let mut add = |expression: &Expression, field: String| errors.extend(expression.error(field));
        for (at, (_, variable)) in self.variables.iter().enumerate() {
            add(variable, format!("spec.variables[{at}].expression"));
        }
        for (at, validation) in self.validations.iter().enumerate() {
            add(&validation.expression, format!("spec.validations[{at}].expression"));
            if let Some(message) = &validation.message_expression {
                add(message, format!("spec.validations[{at}].messageExpression"));
            }
        }
        for (at, (_, annotation)) in self.annotations.iter().enumerate() {
            add(annotation, format!("spec.auditAnnotations[{at}].valueExpression"));
        }
        for (at, mutation) in self.mutations.iter().enumerate() {
            add(&mutation.expression, format!("spec.mutations[{at}].{}.expression", mutation.member()));
        }
        errors.retain(|error| error.shown != "\"\"");
        errors
    }

    /// Whether an expression uses the namespace's object, which has to be found for it.
    pub fn uses_namespace(&self) -> bool {
        self.uses(|program| program.uses(NAMESPACE))
    }

    /// Whether an expression asks about access.
    pub fn uses_authorizer(&self) -> bool {
        let first = if self.param_kind.is_some() { NAMESPACE + 2 } else { NAMESPACE + 1 };
        self.uses(|program| program.uses(first) || program.uses(first + 1))
    }

    fn uses(&self, uses: impl Fn(&Program) -> bool) -> bool {
        let validations =
            self.validations.iter().flat_map(|v| [Some(&v.expression), v.message_expression.as_ref()]);
        let named = self.conditions.expressions().chain(self.annotations.iter().map(|(_, value)| value));
        let mutations = self.mutations.iter().map(|mutation| &mutation.expression);
        let variables = self.variables.iter().map(|(_, expression)| expression);
        let mut all = named.chain(variables).chain(mutations).chain(validations.flatten());
        all.any(|expression| expression.program.as_ref().is_ok_and(&uses))
    }

    fn activation<'v>(&'v self, input: &PolicyInput<'v>) -> Activation<'v> {
        let mut values = conditions::values(input);
        if self.param_kind.is_some() {
            values.push(Val::of_json(input.params, &Type::Dyn));
        }
        let activation = conditions::activation(values, input);
        let compiled = |(name, variable): &'v (String, Expression)| {
            Some((name.as_str(), variable.program.as_ref().ok()?))
        };
        match self.variables.iter().all(|(_, variable)| variable.program.is_ok()) {
            true => activation.with_composed(self.variables.iter().filter_map(compiled)),
            false => activation,
        }
    }

    fn budget() -> Budget {
        Budget(TOTAL_COST_MAX)
    }
}

#[cfg(test)]
mod tests;
