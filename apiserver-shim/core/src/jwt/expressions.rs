//! The expressions of an issuer: over the claims of a token, or over the user that they make.

use std::sync::LazyLock;

use serde_json::Value;
use shim_model::field::FieldError;

use crate::cel::{Activation, Environment, Program, Type, Val};

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    program: Program,
}

/// What an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Token,
    User,
}

static CLAIMS: LazyLock<Environment> =
    LazyLock::new(|| Environment::default().variable("claims", Type::map(Type::String, Type::Dyn)));

static USER: LazyLock<(Environment, Type)> = LazyLock::new(|| {
    let ty = Type::object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    (Environment::default().variable("user", ty.clone()), ty)
});

impl Expression {
    /// Compiles an expression. `condition` is whether its values must be booleans.
    pub(super) fn compile(
        subject: Subject,
        source: &str,
        condition: bool,
        at: &str,
    ) -> Result<Expression, FieldError> {
        let environment = if subject == Subject::Token { &*CLAIMS } else { &USER.0 };
        let program =
            environment.compile(source).map_err(|error| FieldError::invalid(at, source, error.detail()))?;
        if condition && *program.result_type() != Type::Bool {
            return Err(FieldError::invalid(at, source, "must evaluate to bool"));
        }
        Ok(Expression { source: source.to_owned(), program })
    }

    /// Whether it reads a claim by name.
    pub(super) fn uses_claim(&self, name: &str) -> bool {
        self.program.selects(0, name)
    }

    /// Its text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates it.
    pub(super) fn evaluate<'v>(&self, subject: Subject, input: &'v Value) -> Result<Val<'v>, String> {
        let value = match subject {
            Subject::Token => Val::of_json(input, &Type::CLAIMS),
            Subject::User => Val::of_json(input, &USER.1),
        };
        let found = self.program.evaluate(&Activation::new(vec![value]));
        found.map_err(|error| format!("expression '{}' resulted in error: {error}", self.source))
    }
}
