//! The costs of calls.

use super::super::check::result_of;
use super::super::node::{Kind, Node};
use super::super::overloads::{self, Overload};
use super::super::types::Type;
use super::super::value::Literal;
use super::range::Range;
use super::{Estimator, Step};

/// Cost of reading one character of a text.
const TRAVERSAL: f64 = 0.1;
/// Cost of one character of a regular expression.
const REGEX: f64 = 0.25;
/// Length of a long regular expression of a named format.
const FORMAT_REGEX: f64 = 128.0;

/// What a call costs besides its arguments, and how large its result is.
struct CallCost {
    cost: Range,
    size: Option<Range>,
}

fn costs(cost: Range) -> Option<CallCost> {
    Some(CallCost { cost, size: None })
}

fn sized(cost: Range, size: Range) -> Option<CallCost> {
    Some(CallCost { cost, size: Some(size) })
}

impl Estimator<'_> {
    pub(super) fn call(
        &mut self,
        node: &Node,
        function: &str,
        target: Option<&Node>,
        args: &[Node],
    ) -> Range {
        let arguments = args.iter().fold(Range::ZERO, |cost, arg| cost.add(self.node(arg)));
        if function == "dyn" {
            if let Some(size) = self.size(&args[0]) {
                self.computed.insert(node.id, size);
            }
            if let Some(entry) = self.entry(&args[0]) {
                self.entries.insert(node.id, entry);
            }
            return arguments.add(Range::fixed(1));
        }
        let target_cost = target.map_or(Range::ZERO, |target| self.node(target));
        let mut cost: Option<Range> = None;
        let mut size: Option<Range> = None;
        for form in self.forms(function, target, args) {
            let found = self
                .estimated(function, form, target, args)
                .or_else(|| self.basic(node, function, form, target, args))
                .unwrap_or(CallCost { cost: Range::fixed(1), size: None });
            cost = Some(cost.map_or(found.cost, |cost| cost.union(found.cost)));
            size = match (size, found.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            if function == "_[_]" && args.len() == 2 {
                let step = match form.args.first() {
                    Some(Type::List(_)) => Step::Items,
                    Some(Type::Map(_)) => Step::Values,
                    _ => continue,
                };
                size = self.entry(&args[0]).map(|entry| entry.value);
                let steps = self.steps(&args[0]).into_iter().chain([step]).collect();
                self.paths.insert(node.id, steps);
            }
            size = size.or_else(|| self.size(node));
        }
        if let Some(size) = size {
            self.computed.insert(node.id, size);
        }
        // Numbers of different types are compared, too, without a form of their own in the table.
        target_cost.add(arguments).add(cost.unwrap_or(Range::fixed(1)))
    }

    /// The forms of the function that the arguments fit.
    fn forms(&self, function: &str, target: Option<&Node>, args: &[Node]) -> Vec<&'static Overload> {
        let types: Vec<Type> = args.iter().map(|arg| self.ty(arg).clone()).collect();
        let target = target.map(|target| self.ty(target).clone());
        let all = overloads::of(function).unwrap_or_default().iter();
        all.filter(|form| result_of(form, target.as_ref(), &types).is_some()).collect()
    }

    /// The functions whose costs Kubernetes and the extensions define.
    fn estimated(
        &self,
        function: &str,
        form: &Overload,
        target: Option<&Node>,
        args: &[Node],
    ) -> Option<CallCost> {
        let size = |node: &Node| self.size_or_any(node);
        let one = || costs(Range::fixed(1));
        let first = args.first();
        match function {
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => self.traversal(target?),
            "url" | "jsonpatch.escapeKey" => sized(size(first?).scale(TRAVERSAL), size(first?)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                sized(size(target?).scale(TRAVERSAL), size(target?))
            }
            "replace" => self.replace(target?, args),
            "split" => {
                let text = size(target?);
                let most = match args.get(1).map(|arg| &arg.kind) {
                    Some(Kind::Const(Literal::Int(most))) => *most as u64,
                    _ => text.most,
                };
                sized(text.scale(2.0 * TRAVERSAL), Range { least: 0, most })
            }
            "join" => {
                let list = size(target?);
                let mut joined = list.multiply(self.item_size(target?));
                if let Some(separator) = first {
                    let between = |count: u64| count.saturating_sub(1);
                    let times = Range { least: between(list.least), most: between(list.most) };
                    joined = joined.add(size(separator).multiply(times));
                }
                sized(joined.scale(TRAVERSAL), joined)
            }
            "find" | "findAll" => {
                let text = size(target?);
                let cost = text.add(Range::fixed(1)).scale(TRAVERSAL);
                sized(cost.multiply(size(first?).scale(REGEX)), Range { least: 0, most: text.most })
            }
            "check" => costs(Range::fixed(350_000)),
            "ip" if form.target.is_some() => one(),
            "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                costs(size(first?).scale(TRAVERSAL))
            }
            "ip.isCanonical" => costs(size(first?).scale(2.0 * TRAVERSAL)),
            "containsIP" | "containsCIDR" => {
                let address = Range { least: 4, most: 16 };
                let mut cost = address.add(address).scale(TRAVERSAL);
                if function == "containsCIDR" {
                    cost = cost.add(address.scale(TRAVERSAL)).add(Range::fixed(1));
                }
                if form.args.first() == Some(&Type::String) {
                    cost = cost.add(size(first?).scale(TRAVERSAL));
                }
                costs(cost)
            }
            "validate" => costs(size(first?).scale(TRAVERSAL).scale(FORMAT_REGEX * REGEX)),
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let factor = if function == "sets.equivalent" { 2.0 } else { 1.0 };
                let cost = size(first?).multiply(size(args.get(1)?)).scale(factor);
                costs(cost.add(Range::fixed(1)))
            }
            _ => self.lists(function, target, args),
        }
    }

    /// The functions that look at every element or character.
    fn traversal(&self, target: &Node) -> Option<CallCost> {
        let size = self.size_or_any(target);
        match self.ty(target) {
            Type::List(item) => {
                let each = match **item {
                    Type::String | Type::Bytes => {
                        Range::fixed(1).add(self.item_size(target).scale(TRAVERSAL))
                    }
                    _ => Range::fixed(1),
                };
                costs(size.multiply(each))
            }
            _ => costs(size.scale(TRAVERSAL)),
        }
    }

    /// The functions that make lists.
    fn lists(&self, function: &str, target: Option<&Node>, args: &[Node]) -> Option<CallCost> {
        let number = |at: usize, default: u64| match args.get(at).map(|arg| &arg.kind) {
            Some(Kind::Const(Literal::Int(value))) => (*value).max(0) as u64,
            _ => default,
        };
        let made = |factor: f64, size: Range| sized(size.scale(factor).add(Range::fixed(11)), size);
        match function {
            "slice" => {
                let most = self.size_or_any(target?).most;
                made(1.0, Range::fixed(number(1, most).wrapping_sub(number(0, 0))))
            }
            "lists.range" => made(1.0, Range::fixed(number(0, u64::MAX))),
            "reverse" => made(1.0, self.size_or_any(target?)),
            "flatten" => {
                let depth = if args.is_empty() { 1 } else { number(0, u64::MAX) };
                made(depth as f64, self.size_or_any(target?))
            }
            "distinct" => {
                let size = self.size_or_any(target?);
                made(2.0, size.multiply(size))
            }
            "sort" => {
                let size = self.size_or_any(target?);
                let is_text = matches!(self.ty(target?), Type::List(item) if matches!(**item, Type::String | Type::Bytes));
                made(if is_text { 2.0 + TRAVERSAL } else { 2.0 }, size.multiply(size))
            }
            _ => None,
        }
    }

    fn replace(&self, target: &Node, args: &[Node]) -> Option<CallCost> {
        let (text, old, new) =
            (self.size_or_any(target), self.size_or_any(args.first()?), self.size_or_any(args.get(1)?));
        let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
        let times = |size: u64, of: u64| (size as f64 / of as f64).ceil() as u64;
        if old.least == 0 {
            // An empty text is replaced around every character.
            (count.most, kept.most) = (text.most.saturating_add(1), text.most);
        } else if new.most <= old.least {
            kept.most = text.most;
        } else {
            count.most = times(text.most, old.least);
        }
        if old.most == 0 {
            (count.least, kept.least) = (text.least.saturating_add(1), text.least);
        } else if old.most <= new.least {
            kept.least = text.least;
        } else {
            count.least = times(text.least, old.most);
        }
        sized(text.scale(2.0 * TRAVERSAL), count.multiply(new).add(kept))
    }

    /// The functions of the language itself whose costs depend on sizes.
    fn basic(
        &mut self,
        node: &Node,
        function: &str,
        form: &Overload,
        target: Option<&Node>,
        args: &[Node],
    ) -> Option<CallCost> {
        let size = |node: &Node| self.size_or_any(node);
        let is_text = |ty: Option<&Type>| matches!(ty, Some(Type::String | Type::Bytes));
        let (first, second) = (args.first(), args.get(1));
        match function {
            "format" => costs(size(target?).scale(TRAVERSAL)),
            "bytes" if form.args.first() == Some(&Type::String) => {
                let text = size(first?);
                let most = text.most.wrapping_mul(4);
                sized(text.scale(TRAVERSAL), Range { least: text.least, most })
            }
            "string" if form.args.first() == Some(&Type::Bytes) => {
                let bytes = size(first?);
                sized(bytes.scale(TRAVERSAL), Range { least: bytes.least / 4, most: bytes.most })
            }
            "strings.quote" => {
                let text = size(first?);
                let most = text.most.wrapping_mul(2).wrapping_add(2);
                sized(text.scale(TRAVERSAL), Range { least: text.least.wrapping_add(2), most })
            }
            "startsWith" | "endsWith" => costs(size(first?).scale(TRAVERSAL)),
            "@in" if matches!(form.args.get(1), Some(Type::List(_))) => costs(size(second?).scale(1.0)),
            "matches" if target.is_some() => {
                let text = size(target?).add(Range::fixed(1)).scale(TRAVERSAL);
                costs(text.multiply(size(first?).scale(REGEX)))
            }
            "contains" => costs(size(target?).scale(TRAVERSAL).multiply(size(first?).scale(TRAVERSAL))),
            "_+_" if is_text(form.args.first()) || matches!(form.args.first(), Some(Type::List(_))) => {
                let sum = size(first?).add(size(second?));
                if let (Some(a), Some(b)) = (self.entry(first?), self.entry(second?)) {
                    self.entries.insert(node.id, a.union(b));
                }
                match form.args.first() {
                    Some(Type::List(_)) => sized(Range::fixed(1), sum),
                    _ => sized(sum.scale(TRAVERSAL), sum),
                }
            }
            "_==_" if is_address(self.ty(first?)) && self.ty(first?) == self.ty(second?) => {
                costs(Range::fixed(1))
            }
            "_<_" | "_<=_" | "_>_" | "_>=_" if !is_text(form.args.first()) => None,
            "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
                let most = size(first?).most.min(size(second?).most);
                costs(Range { least: most.min(1), most }.scale(TRAVERSAL))
            }
            _ => None,
        }
    }

    /// The size of the elements of a list.
    fn item_size(&self, list: &Node) -> Range {
        let mut steps = self.steps(list);
        if steps.is_empty() {
            return Range::ANY;
        }
        steps.push(Step::Items);
        self.declared(&steps).unwrap_or(Range::ANY)
    }
}

/// Whether values of a type are compared at once.
fn is_address(ty: &Type) -> bool {
    matches!(ty, Type::Opaque("net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver"))
}
