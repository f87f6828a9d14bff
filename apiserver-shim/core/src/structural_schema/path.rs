//! The path of a value in an object, as a chain of borrowed steps that is formatted only if there is an error.

use std::fmt;

/// A path as error messages print it; the empty one prints `<nil>`.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Text(&'a str),
    Member(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The empty path.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A path that is given as text.
    pub fn text(path: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Text(path) }
    }

    /// The member called `name`.
    pub fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Member(name) }
    }

    /// An element of a list.
    pub fn index<'b>(&'b self, at: usize) -> Path<'b> {
        Path { parent: Some(self), step: Step::Index(at) }
    }

    /// A member of a map.
    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// Whether the path is empty.
    pub fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }

    fn steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nested = match self.parent {
            None => false,
            Some(parent) => {
                parent.steps(f)?;
                !parent.is_root()
            }
        };
        match self.step {
            Step::Root => Ok(()),
            Step::Text(text) => f.write_str(text),
            Step::Member(name) if nested => write!(f, ".{name}"),
            Step::Member(name) => f.write_str(name),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }

    /// The path without `<nil>` for the empty one.
    pub fn plain(&self) -> String {
        struct Plain<'a>(&'a Path<'a>);
        impl fmt::Display for Plain<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.steps(f)
            }
        }
        Plain(self).to_string()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("<nil>") } else { self.steps(f) }
    }
}
