//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies: their compiled expressions, which requests they match, and
//! what they decide. Objects, bindings and parameters are found by the caller.

mod conditions;
pub mod matching;
mod mutate;
mod request;
pub mod type_check;
mod validate;

use std::sync::Arc;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

use crate::cel::{
    Access, Activation, Authorize, CompileError, Environment, EvalError, ObjectTypes, Program,
    TOTAL_COST_MAX, Type, Val,
};
pub use conditions::{Condition, MatchConditions};
use matching::MatchResources;
pub use mutate::{Mutated, Mutation};
pub use request::{RequestFacts, request};
pub use validate::{Decision, Validated};

/// What a policy's expressions see.
#[derive(Clone, Copy)]
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
    /// Who decides about the user's access.
    pub authorizer: &'v Arc<dyn Authorize>,
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
    variables: Vec<Expression>,
    validations: Vec<validate::Validation>,
    annotations: Vec<(String, Expression)>,
    mutations: Vec<mutate::MutationExpression>,
}

/// The index of the namespace's object among the variables.
const NAMESPACE: usize = 3;
/// The indexes of `authorizer` and `authorizer.requestResource`.
const AUTHORIZER: [usize; 2] = [5, 6];

/// The environment of a policy's expressions: variables by index are object, oldObject, request, namespaceObject, params, and
/// `authorizer` with the objects of the request, which messages do not have.
fn environment(has_params: bool) -> Environment {
    let declared = environment_of_messages(has_params);
    // An index is that of the same variable in all environments; no expression has an empty name.
    let declared = if has_params { declared } else { declared.variable("", Type::Dyn) };
    declared
        .variable("authorizer", Access::authorizer_type())
        .variable("authorizer.requestResource", Access::resource_type())
}

/// The environment for objects and parameters of known types.
fn environment_with(object: Type, params: Option<Type>) -> Environment {
    let has_params = params.is_some();
    let typed = [("object", object.clone()), ("oldObject", object)];
    let params = params.map(|params| ("params", params));
    typed
        .into_iter()
        .chain(params)
        .fold(environment(has_params), |environment, (name, ty)| environment.retyped(name, ty))
}

fn environment_of_messages(has_params: bool) -> Environment {
    let gvk = |resource: &str| {
        Type::object(
            "kubernetes.Group",
            &[("group", Type::String), ("version", Type::String), (resource, Type::String)],
        )
    };
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
            ("kind", gvk("kind")),
            ("resource", gvk("resource")),
            ("subResource", Type::String),
            ("requestKind", gvk("kind")),
            ("requestResource", gvk("resource")),
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
            // A value whose type is not known is checked when it is evaluated; upstream wants the type to be known.
            if wanted.is_empty() || wanted.contains(&found.as_str()) || program.result_type().is_dyn() {
                return Ok(program);
            }
            Err(CompileError::wrong_type(wanted, &found))
        });
        Expression { source: source.to_owned(), program }
    }

    /// The error of the expression as a field's.
    fn error(&self, field: String) -> Option<FieldError> {
        let error = self.program.as_ref().err()?;
        Some(FieldError::invalid(field, self.source.as_str(), error.detail()))
    }

    fn uses(&self, variables: &[usize]) -> bool {
        let Ok(program) = &self.program else { return false };
        variables.iter().any(|variable| program.uses(*variable))
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
        let spec = &object["spec"];
        let param_kind = access::get(spec, &["paramKind"]).filter(|kind| !kind.is_null());
        let text = |value: &Value, member: &str| access::text(value, &[member]).to_owned();
        let base = environment(param_kind.is_some());
        let conditions = MatchConditions::with_environment(spec, &base);
        let mut of_messages = environment_of_messages(param_kind.is_some());
        let mut composed = base.clone();
        if spec.get("mutations").is_some() {
            composed = composed.with_objects(ObjectTypes::Patches);
        }
        let mut variables = Vec::new();
        for variable in access::list(spec, &["variables"]) {
            let expression = Expression::compile(&text(variable, "expression"), &composed, &[]);
            let ty = expression.program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
            of_messages = of_messages.composed(&text(variable, "name"), ty.clone());
            composed = composed.composed(&text(variable, "name"), ty);
            variables.push(expression);
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
            validations: validate::compile(spec, (&composed, &of_messages)),
            annotations: access::list(spec, &["auditAnnotations"]).iter().map(annotation).collect(),
            mutations: mutate::compile(spec, &composed),
        }
    }

    /// The errors of its expressions.
    pub fn errors(&self) -> Vec<FieldError> {
        let mut errors = self.conditions.errors("spec.");
        let mut add = |expression: &Expression, field: String| errors.extend(expression.error(field));
        for (at, variable) in self.variables.iter().enumerate() {
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
        self.uses(&[NAMESPACE])
    }

    /// Whether an expression asks what the user may do.
    pub fn uses_authorizer(&self) -> bool {
        self.uses(&AUTHORIZER)
    }

    fn uses(&self, variables: &[usize]) -> bool {
        let validations =
            self.validations.iter().flat_map(|v| [Some(&v.expression), v.message_expression.as_ref()]);
        let named = self.conditions.expressions().chain(self.annotations.iter().map(|(_, value)| value));
        let mutations = self.mutations.iter().map(|mutation| &mutation.expression);
        let mut all = named.chain(&self.variables).chain(mutations).chain(validations.flatten());
        all.any(|expression| expression.uses(variables))
    }

    fn activation<'v>(&'v self, input: &PolicyInput<'v>) -> Activation<'v> {
        let values = conditions::values(input);
        let programs = self.variables.iter().filter_map(|variable| variable.program.as_ref().ok());
        match self.variables.iter().all(|variable| variable.program.is_ok()) {
            true => Activation::new(values).with_composed(programs),
            false => Activation::new(values),
        }
    }

    fn budget() -> Budget {
        Budget(TOTAL_COST_MAX)
    }
}

#[cfg(test)]
mod tests;
