//! Rules in CEL (`x-kubernetes-validations`): compiled once with the schema, evaluated on every value that has them.

use std::collections::BTreeMap;

use serde_json::Value;
use shim_model::field::{self, FieldError};

use super::correlation::{Correlated, element_like};
use super::path::Path;
use super::props::{Props, Rule};
use super::rule_costs::RuleCosts;
use super::selectable;
use crate::cel::{
    Activation, Environment, EvalError, MESSAGE_MAX, Program, Sizes, TOTAL_COST_MAX, Type, Val, declare,
};

/// The variable `oldSelf` in environments of rules.
const OLD_SELF: usize = 1;

/// The rules of a schema and of all schemas below it that have any.
#[derive(Debug, Default)]
pub(super) struct RuleNode {
    ty: Option<Type>,
    /// How large the values can become, if there are rules.
    sizes: Option<Sizes>,
    rules: Vec<Compiled>,
    items: Option<Box<RuleNode>>,
    further: Option<Box<RuleNode>>,
    properties: BTreeMap<String, RuleNode>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    program: Result<Program, String>,
    message: Option<Result<Program, String>>,
    uses_old: bool,
    /// The path below the value that errors name.
    field_path: String,
}

impl RuleNode {
    /// Compiles the rules of a schema; `source` is the schema in JSON. `None` if there are none.
    pub fn compile(schema: &Props, source: &Value, is_root: bool) -> Option<RuleNode> {
        let below = |schema: Option<&Props>, member: &str| {
            RuleNode::compile(schema?, source.get(member)?, false).map(Box::new)
        };
        let property = |(name, property): (&String, &Props)| {
            let source = source.get("properties")?.get(name)?;
            Some((name.clone(), RuleNode::compile(property, source, false)?))
        };
        let ty = if schema.rules.is_empty() { None } else { declare(source, is_root) };
        let sizes = ty.as_ref().and_then(|_| Sizes::of(source, is_root));
        let rules = schema.rules.iter().map(|rule| Compiled::of(rule, ty.as_ref(), schema)).collect();
        let node = RuleNode {
            rules,
            ty,
            sizes,
            items: below(schema.items.as_deref(), "items"),
            further: below(schema.further(), "additionalProperties"),
            properties: schema.properties.iter().filter_map(property).collect(),
        };
        let is_empty = node.rules.is_empty()
            && node.items.is_none()
            && node.further.is_none()
            && node.properties.is_empty();
        (!is_empty).then_some(node)
    }

    /// The errors of the expressions, in upstream's order: those of values within a value first.
    pub fn errors(&self, schema: &Props, path: &Path<'_>, place: Place<'_>, found: &mut Found<'_>) {
        let below = place.below(schema);
        if let (Some(node), Some(further)) = (&self.further, schema.further()) {
            node.errors(further, &path.child("additionalProperties"), below, found);
        }
        for (name, node) in &self.properties {
            let at = path.child("properties");
            node.errors(&schema.properties[name], &at.key(name), below, found);
        }
        if let (Some(node), Some(items)) = (&self.items, &schema.items) {
            let own = path.plain();
            let is_map = schema.list_type.as_deref() == Some("map");
            let fixed = below.fixed.or((!is_map).then_some(own.as_str()));
            node.errors(items, &path.child("items"), Place { fixed, ..below }, found);
        }
        let list = path.child("x-kubernetes-validations");
        for (at, compiled) in self.rules.iter().enumerate() {
            self.rule_errors(compiled, &list.index(at), place, found);
        }
    }

    fn rule_errors(&self, compiled: &Compiled, at: &Path<'_>, place: Place<'_>, found: &mut Found<'_>) {
        let shown = shown(&compiled.rule);
        let sizes = self.sizes.as_ref();
        let cost = |program: &Program| sizes.map_or(0, |sizes| program.estimate(sizes));
        if let (Ok(program), Some(sizes)) = (&compiled.program, sizes) {
            let count = place.count.unwrap_or_else(|| sizes.cardinality());
            found.costs.observe(at.child("rule"), "rule", cost(program).saturating_mul(count), found.errors);
        }
        if let Err(why) = &compiled.program {
            found.errors.push(FieldError::invalid_shown(at.child("rule"), &*shown, why.as_str()));
        }
        let message = at.child("messageExpression");
        match &compiled.message {
            Some(Err(why)) => {
                found.errors.push(FieldError::invalid_shown(message, &*shown, why.as_str()));
            }
            Some(Ok(program)) => {
                found.costs.observe(message, "messageExpression", cost(program), found.errors);
            }
            None => {}
        }
        if let (true, Some(fixed)) = (compiled.uses_old, place.fixed) {
            let why =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {fixed}");
            found.errors.push(FieldError::invalid(at.child("rule"), compiled.rule.rule.as_str(), why));
        } else if let (false, Some(optional)) = (compiled.uses_old, compiled.rule.optional_old_self) {
            let why = "may not be set if oldSelf is not used in rule";
            found.errors.push(FieldError::invalid(at.child("optionalOldSelf"), optional, why));
        }
    }
}

/// What is known of the place of a schema.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The path of the outermost list whose elements have no counterpart in the old object.
    pub fixed: Option<&'a str>,
    /// How often values of the schema occur in an object at most; `None` if nothing bounds it.
    pub count: Option<u64>,
}

impl Place<'_> {
    pub const ROOT: Place<'static> = Place { fixed: None, count: Some(1) };

    /// The place of what is within values of a schema.
    fn below(self, schema: &Props) -> Self {
        let times = match schema.ty.as_str() {
            "object" if schema.further().is_some() => schema.max_properties,
            "array" => schema.max_items,
            _ => Some(1),
        };
        let times = times.map(|times| times.max(0) as u64);
        Place { count: self.count.zip(times).map(|(count, times)| count.saturating_mul(times)), ..self }
    }
}

/// What a walk over the rules finds.
pub(super) struct Found<'e> {
    pub costs: &'e mut RuleCosts,
    pub errors: &'e mut Vec<FieldError>,
}

/// A rule as upstream prints it in errors: the members of its internal type, in their order.
fn shown(rule: &Rule) -> String {
    let members = [
        ("Rule", Value::from(rule.rule.as_str())),
        ("Message", rule.message.as_str().into()),
        ("MessageExpression", rule.message_expression.as_str().into()),
        ("Reason", rule.reason.clone().map_or(Value::Null, Value::from)),
        ("FieldPath", rule.field_path.as_str().into()),
        ("OptionalOldSelf", rule.optional_old_self.map_or(Value::Null, Value::from)),
    ];
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("\"{name}\":{}", field::go_json(value))).collect();
    format!("{{{}}}", members.join(","))
}

impl Compiled {
    fn of(rule: &Rule, ty: Option<&Type>, schema: &Props) -> Compiled {
        let untyped = || Err("failed to convert to declType for CEL validation rules".to_owned());
        let environment = ty.map(|ty| {
            let old =
                if rule.optional_old_self == Some(true) { Type::optional(ty.clone()) } else { ty.clone() };
            Environment::default().variable("self", ty.clone()).variable("oldSelf", old)
        });
        let compile = |source: &str, prefix: &str, wanted: &Type, wrong: &str| {
            let Some(environment) = &environment else { return untyped() };
            let program = environment.compile(source).map_err(|error| match prefix {
                "" => error.detail(),
                _ => format!("{prefix}{}", error.detail().trim_start_matches("program ")),
            })?;
            if program.result_type() == wanted { Ok(program) } else { Err(wrong.to_owned()) }
        };
        let program = compile(&rule.rule, "", &Type::Bool, "cel expression must evaluate to a bool");
        let source = &rule.message_expression;
        let message = (program.is_ok() && !source.trim().is_empty()).then(|| {
            let wrong = "messageExpression must evaluate to a string";
            compile(source, "messageExpression ", &Type::String, wrong)
        });
        let uses_old = program.as_ref().is_ok_and(|program| program.uses(OLD_SELF));
        let found = selectable::resolve(&rule.field_path, schema, true);
        let field_path = if rule.field_path.is_empty() {
            String::new()
        } else {
            found.map(|f| f.path).unwrap_or_default()
        };
        Compiled { rule: rule.clone(), program, message, uses_old, field_path }
    }
}

/// A value, the old value at the same place, and their correlation for ratcheting.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    current: Option<Correlated<'a>>,
    parent: Option<Correlated<'a>>,
}

impl<'a> Site<'a> {
    /// A whole object, and the one that it replaces.
    pub fn root(schema: &'a Props, value: &'a Value, old: Option<&'a Value>) -> Site<'a> {
        let current = old.map(|old| Correlated::root(schema, value, old));
        Site { value, old, current, parent: None }
    }

    fn below(&self, value: &'a Value, old: Option<&'a Value>, current: Option<Correlated<'a>>) -> Site<'a> {
        match self.current {
            None => Site { value, old, ..*self },
            Some(parent) => Site { value, old, current, parent: Some(parent) },
        }
    }

    fn is_unchanged(&self) -> bool {
        self.current.or(self.parent).is_some_and(|correlated| correlated.is_unchanged())
    }
}

/// Evaluates the rules of an object.
pub(super) fn validate(node: &RuleNode, schema: &Props, site: Site<'_>, errors: &mut Vec<FieldError>) {
    let mut evaluation = Evaluation { budget: TOTAL_COST_MAX, errors };
    let _ = evaluation.value(node, schema, site, &Path::ROOT);
}

struct Evaluation<'e> {
    budget: u64,
    errors: &'e mut Vec<FieldError>,
}

/// The evaluation ends: its budget is spent.
struct Ended;

impl Evaluation<'_> {
    fn value(
        &mut self,
        node: &RuleNode,
        schema: &Props,
        site: Site<'_>,
        path: &Path<'_>,
    ) -> Result<(), Ended> {
        if site.value.is_null() {
            return Ok(());
        }
        self.rules(node, schema, site, path)?;
        match site.value {
            Value::Array(items) => {
                let (Some(node), Some(item_schema)) = (&node.items, &schema.items) else { return Ok(()) };
                for (at, item) in items.iter().enumerate() {
                    let old = site.old.and_then(|old| element_like(schema, old, item));
                    let current = site.current.and_then(|current| current.index(at));
                    self.value(node, item_schema, site.below(item, old, current), &path.index(at))?;
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    let old = site.old.and_then(|old| old.get(name)).filter(|old| !old.is_null());
                    let below = site.below(value, old, site.current.and_then(|current| current.field(name)));
                    if let (Some(node), Some(property)) =
                        (node.properties.get(name), schema.properties.get(name))
                    {
                        self.value(node, property, below, &path.child(name))?;
                    } else if let (Some(node), Some(further)) = (&node.further, schema.further()) {
                        self.value(node, further, below, &path.key(name))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(
        &mut self,
        node: &RuleNode,
        schema: &Props,
        site: Site<'_>,
        path: &Path<'_>,
    ) -> Result<(), Ended> {
        let Some(ty) = &node.ty else { return Ok(()) };
        let value = Val::of_json(site.value, ty);
        let old = site.old.map(|old| Val::of_json(old, ty));
        let plain = Activation::new(vec![value.clone(), old.clone().unwrap_or(Val::Null)]);
        let optional = Activation::new(vec![value, Val::Optional(old.map(Into::into))]);
        for compiled in &node.rules {
            let is_optional = compiled.rule.optional_old_self == Some(true);
            if compiled.uses_old && site.old.is_none() && !is_optional {
                continue;
            }
            let invalid = |why: String| FieldError::invalid(path, schema.ty.as_str(), why);
            let program = match &compiled.program {
                Ok(program) => program,
                Err(why) => {
                    self.errors.push(invalid(format!("rule compile error: {why}")));
                    continue;
                }
            };
            let activation = if is_optional { &optional } else { &plain };
            let result = program.evaluate(activation);
            let Some(left) = self.budget.checked_sub(activation.take_cost()) else {
                let why = "validation failed due to running out of cost budget, no further validation rules will be run";
                self.errors.push(invalid(why.to_owned()));
                return Err(Ended);
            };
            self.budget = left;
            let named = compiled.named();
            let error = match result {
                Ok(Val::Bool(true)) => continue,
                Ok(_) => compiled.failure(schema, site, path, activation),
                Err(error @ EvalError::CostLimit) => {
                    let why = format!(
                        "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {named}"
                    );
                    self.errors.push(invalid(why));
                    return Err(Ended);
                }
                Err(error) if error.to_string().starts_with("no such overload") => {
                    let why = format!(
                        "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {named}"
                    );
                    self.errors.push(invalid(why));
                    continue;
                }
                Err(error) => {
                    self.errors.push(invalid(format!("{error} evaluating rule: {named}")));
                    continue;
                }
            };
            if compiled.uses_old || !site.is_unchanged() {
                self.errors.push(error);
            }
        }
        Ok(())
    }
}

impl Compiled {
    /// The rule's message or expression, as errors name it.
    fn named(&self) -> &str {
        if self.rule.message.is_empty() { self.rule.rule.trim() } else { self.rule.message.trim() }
    }

    /// The error of a value that breaks the rule.
    fn failure(
        &self,
        schema: &Props,
        site: Site<'_>,
        path: &Path<'_>,
        activation: &Activation<'_>,
    ) -> FieldError {
        let made = self.message.as_ref().and_then(|program| program.as_ref().ok()?.evaluate(activation).ok());
        let made = made.and_then(|made| made.as_text().map(|text| text.trim().to_owned()));
        let usable = |text: &String| !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
        let detail = match made.filter(usable) {
            Some(made) => made,
            None if self.rule.message.is_empty() => format!("failed rule: {}", self.named()),
            None => self.named().to_owned(),
        };
        let field = match self.field_path.as_str() {
            "" => path.to_string(),
            below if path.is_root() => below.to_owned(),
            below => format!("{path}.{below}"),
        };
        let composite = matches!(schema.ty.as_str(), "object" | "array");
        match self.rule.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(field, detail),
            Some("FieldValueRequired") => FieldError::required(field, detail),
            Some("FieldValueDuplicate") if composite => {
                FieldError { shown: String::new(), ..FieldError::duplicate(field, "") }
            }
            Some("FieldValueDuplicate") => FieldError::duplicate(field, site.value.clone()),
            _ if composite => FieldError::invalid_shown(field, "", detail),
            _ => FieldError::invalid(field, site.value.clone(), detail),
        }
    }
}
