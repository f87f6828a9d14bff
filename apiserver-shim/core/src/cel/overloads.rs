//! The functions of expressions with the types of their arguments: those of CEL, of its extensions and of Kubernetes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::eval::EvalError;
use super::types::Type;
use super::value::Val;

/// One form of a function.
#[derive(Debug)]
pub(super) struct Overload {
    /// The type of the target of a member call.
    pub target: Option<Type>,
    pub args: Vec<Type>,
    pub result: Type,
}

/// One function a line: its name, then its forms. `target.(arguments)result`; A and B stand for any type.
const TABLE: &str = "
!_ (bool)bool
-_ (int)int (double)double
_+_ (int,int)int (uint,uint)uint (double,double)double (string,string)string (bytes,bytes)bytes (list(A),list(A))list(A) (timestamp,duration)timestamp (duration,timestamp)timestamp (duration,duration)duration
_-_ (int,int)int (uint,uint)uint (double,double)double (timestamp,timestamp)duration (timestamp,duration)timestamp (duration,duration)duration
_*_ (int,int)int (uint,uint)uint (double,double)double
_/_ (int,int)int (uint,uint)uint (double,double)double
_%_ (int,int)int (uint,uint)uint
_==_ (A,A)bool
_!=_ (A,A)bool
_<_ ORDER
_<=_ ORDER
_>_ ORDER
_>=_ ORDER
@in (A,list(A))bool (A,map(A,B))bool
_[_] (list(A),int)A (map(A,B),A)B (optional(list(A)),int)optional(A) (optional(map(A,B)),A)optional(B)
_[?_] (list(A),int)optional(A) (map(A,B),A)optional(B) (optional(list(A)),int)optional(A) (optional(map(A,B)),A)optional(B)
size (string)int (bytes)int (list(A))int (map(A,B))int string.()int bytes.()int list(A).()int map(A,B).()int
bool (bool)bool (string)bool
bytes (bytes)bytes (string)bytes
double (double)double (int)double (uint)double (string)double
duration (duration)duration (int)duration (string)duration
dyn (A)dyn
int (int)int (uint)int (double)int (string)int (timestamp)int (duration)int
string (string)string (bool)string (int)string (uint)string (double)string (bytes)string (timestamp)string (duration)string (ip)string (cidr)string
timestamp (timestamp)timestamp (int)timestamp (string)timestamp
type (A)type
uint (uint)uint (int)uint (double)uint (string)uint
contains string.(string)bool
endsWith string.(string)bool
startsWith string.(string)bool
matches string.(string)bool (string,string)bool
getFullYear timestamp.()int timestamp.(string)int
getMonth timestamp.()int timestamp.(string)int
getDate timestamp.()int timestamp.(string)int
getDayOfMonth timestamp.()int timestamp.(string)int
getDayOfWeek timestamp.()int timestamp.(string)int
getDayOfYear timestamp.()int timestamp.(string)int
getHours timestamp.()int timestamp.(string)int duration.()int
getMinutes timestamp.()int timestamp.(string)int duration.()int
getSeconds timestamp.()int timestamp.(string)int duration.()int
getMilliseconds timestamp.()int timestamp.(string)int duration.()int
charAt string.(int)string
indexOf string.(string)int string.(string,int)int list(A).(A)int
lastIndexOf string.(string)int string.(string,int)int list(A).(A)int
join list(string).()string list(string).(string)string
lowerAscii string.()string
upperAscii string.()string
replace string.(string,string)string string.(string,string,int)string
split string.(string)list(string) string.(string,int)list(string)
substring string.(int)string string.(int,int)string
trim string.()string
format string.(list(dyn))string
strings.quote (string)string
find string.(string)string
findAll string.(string)list(string) string.(string,int)list(string)
isSorted list(A).()bool
sum list(int).()int list(uint).()uint list(double).()double list(duration).()duration
min list(A).()A
max list(A).()A
distinct list(A).()list(A)
flatten list(list(A)).()list(A) list(dyn).(int)list(dyn)
lists.range (int)list(int)
reverse list(A).()list(A)
slice list(A).(int,int)list(A)
sort list(A).()list(A)
first list(A).()optional(A)
last list(A).()optional(A)
sets.contains (list(A),list(A))bool
sets.equivalent (list(A),list(A))bool
sets.intersects (list(A),list(A))bool
optional.of (A)optional(A)
optional.ofNonZeroValue (A)optional(A)
optional.none ()optional(A)
optional.unwrap (list(optional(A)))list(A)
unwrapOpt list(optional(A)).()list(A)
hasValue optional(A).()bool
value optional(A).()A
or optional(A).(optional(A))optional(A)
orValue optional(A).(A)A
url (string)url
isURL (string)bool
getScheme url.()string
getHost url.()string
getHostname url.()string
getPort url.()string
getEscapedPath url.()string
getQuery url.()map(string,list(string))
quantity (string)quantity
isQuantity (string)bool
isInteger quantity.()bool
asInteger quantity.()int
asApproximateFloat quantity.()double
add quantity.(quantity)quantity quantity.(int)quantity
sub quantity.(quantity)quantity quantity.(int)quantity
isLessThan quantity.(quantity)bool semver.(semver)bool
isGreaterThan quantity.(quantity)bool semver.(semver)bool
compareTo quantity.(quantity)int semver.(semver)int
ip (string)ip cidr.()ip
isIP (string)bool
ip.isCanonical (string)bool
family ip.()int
isUnspecified ip.()bool
isLoopback ip.()bool
isLinkLocalMulticast ip.()bool
isLinkLocalUnicast ip.()bool
isGlobalUnicast ip.()bool
cidr (string)cidr
isCIDR (string)bool
containsIP cidr.(string)bool cidr.(ip)bool
containsCIDR cidr.(string)bool cidr.(cidr)bool
masked cidr.()cidr
prefixLength cidr.()int
semver (string)semver (string,bool)semver
isSemver (string)bool (string,bool)bool
major semver.()int
minor semver.()int
patch semver.()int
format.named (string)optional(format)
validate format.(string)optional(list(string))
format.dns1123Label ()format
format.dns1123Subdomain ()format
format.dns1035Label ()format
format.qualifiedName ()format
format.dns1123LabelPrefix ()format
format.dns1123SubdomainPrefix ()format
format.dns1035LabelPrefix ()format
format.labelValue ()format
format.uri ()format
format.uuid ()format
format.byte ()format
format.date ()format
format.datetime ()format
jsonpatch.escapeKey (string)string
path authorizer.(string)pathcheck
group authorizer.(string)groupcheck
serviceAccount authorizer.(string,string)authorizer
resource groupcheck.(string)resourcecheck
subresource resourcecheck.(string)resourcecheck
namespace resourcecheck.(string)resourcecheck
name resourcecheck.(string)resourcecheck
fieldSelector resourcecheck.(string)resourcecheck
labelSelector resourcecheck.(string)resourcecheck
check pathcheck.(string)decision resourcecheck.(string)decision
errored decision.()bool
error decision.()string
allowed decision.()bool
reason decision.()string
";

const ORDER: &str = "(bool,bool)bool (int,int)bool (uint,uint)bool (double,double)bool (string,string)bool (bytes,bytes)bool (timestamp,timestamp)bool (duration,duration)bool";

static FUNCTIONS: LazyLock<BTreeMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let (name, forms) = line.split_once(' ').expect("invariant: every row has a form");
        let forms = if forms == "ORDER" { ORDER } else { forms };
        (name, forms.split(' ').map(overload).collect())
    };
    TABLE.lines().filter(|line| !line.is_empty()).map(row).collect()
});

/// The forms of a function.
pub(super) fn of(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

/// Whether there is a function of this name.
pub(super) fn is_declared(name: &str) -> bool {
    FUNCTIONS.contains_key(name)
}

/// The error of a function that does not take these values. Operators look only at the first.
pub(super) fn unfit(function: &str, all: &[Val<'_>]) -> EvalError {
    let is_numeric = |value: &Val<'_>| matches!(value, Val::Int(_) | Val::Uint(_) | Val::Double(_));
    let has = |value: &Val<'_>| match function {
        "_+_" => {
            is_numeric(value)
                || matches!(
                    value,
                    Val::Text(_) | Val::Bytes(_) | Val::List(_) | Val::Timestamp(_) | Val::Duration(_)
                )
        }
        "_-_" => is_numeric(value) || matches!(value, Val::Timestamp(_) | Val::Duration(_)),
        "_*_" | "_/_" => is_numeric(value),
        "_%_" => matches!(value, Val::Int(_) | Val::Uint(_)),
        "_<_" | "_<=_" | "_>_" | "_>=_" => {
            is_numeric(value)
                || matches!(
                    value,
                    Val::Bool(_) | Val::Text(_) | Val::Bytes(_) | Val::Timestamp(_) | Val::Duration(_)
                )
        }
        "size" => matches!(value, Val::Text(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_)),
        _ => true,
    };
    // Texts, times and durations have methods, and say themselves that they do not have this one.
    let has_methods = |value: &Val<'_>| matches!(value, Val::Text(_) | Val::Timestamp(_) | Val::Duration(_));
    match all.first() {
        Some(first) if !has(first) && !has_methods(first) => {
            EvalError::new(format!("no such overload: {function}"))
        }
        _ if PLAIN.contains(&function) || takes(function, all) => EvalError::overload(),
        _ => {
            let types: Vec<&str> = all.iter().map(Val::type_name).collect();
            EvalError::new(format!("no such overload: {function}({})", types.join(", ")))
        }
    }
}

/// Functions that look at the types of their values themselves.
const PLAIN: [&str; 22] = [
    "!_",
    "-_",
    "_+_",
    "_-_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
    "@in",
    "_[_]",
    "_[?_]",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "dyn",
];

/// Whether a form of the function takes values of these types.
fn takes(function: &str, all: &[Val<'_>]) -> bool {
    of(function).into_iter().flatten().any(|form| {
        let wanted: Vec<&Type> = form.target.iter().chain(&form.args).collect();
        wanted.len() == all.len() && wanted.iter().zip(all).all(|(ty, value)| is_of(value, ty))
    })
}

/// Whether a value has a type. Lists and maps are judged by their first element.
fn is_of(value: &Val<'_>, ty: &Type) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Param(_), _) => true,
        (Type::List(of), Val::List(list)) => list.get(0).is_none_or(|first| is_of(&first, of)),
        (Type::Map(of), Val::Map(map)) => {
            map.iter().next().is_none_or(|(key, value)| is_of(&key, &of.0) && is_of(&value, &of.1))
        }
        (Type::Optional(of), Val::Optional(value)) => value.as_ref().is_none_or(|value| is_of(value, of)),
        (Type::List(_) | Type::Map(_) | Type::Optional(_), _) => false,
        (ty, value) => ty.type_name() == value.type_name(),
    }
}

fn overload(text: &'static str) -> Overload {
    let mut parser = TypeParser(text);
    let target = (!text.starts_with('(')).then(|| {
        let target = parser.ty();
        parser.skip('.');
        target
    });
    parser.skip('(');
    let mut args = Vec::new();
    while !parser.0.starts_with(')') {
        args.push(parser.ty());
        if parser.0.starts_with(',') {
            parser.skip(',');
        }
    }
    parser.skip(')');
    Overload { target, args, result: parser.ty() }
}

struct TypeParser(&'static str);

impl TypeParser {
    fn skip(&mut self, c: char) {
        self.0 = self.0.strip_prefix(c).expect("invariant: the table is well-formed");
    }

    fn ty(&mut self) -> Type {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        self.0 = rest;
        let inner = |parser: &mut Self| {
            parser.skip('(');
            let ty = parser.ty();
            if parser.0.starts_with(',') {
                return ty;
            }
            parser.skip(')');
            ty
        };
        match name {
            "dyn" => Type::Dyn,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "timestamp" => Type::Timestamp,
            "duration" => Type::Duration,
            "type" => Type::Type,
            "A" => Type::Param(0),
            "B" => Type::Param(1),
            "list" => Type::list(inner(self)),
            "optional" => Type::optional(inner(self)),
            "map" => {
                let key = inner(self);
                self.skip(',');
                let value = self.ty();
                self.skip(')');
                Type::map(key, value)
            }
            "url" => Type::Opaque("kubernetes.URL"),
            "quantity" => Type::Opaque("kubernetes.Quantity"),
            "ip" => Type::Opaque("net.IP"),
            "cidr" => Type::Opaque("net.CIDR"),
            "semver" => Type::Opaque("kubernetes.Semver"),
            "format" => Type::Opaque("kubernetes.NamedFormat"),
            "authorizer" => Type::AUTHORIZER,
            "pathcheck" => Type::Opaque("kubernetes.authorization.PathCheck"),
            "groupcheck" => Type::Opaque("kubernetes.authorization.GroupCheck"),
            "resourcecheck" => Type::RESOURCE_CHECK,
            "decision" => Type::Opaque("kubernetes.authorization.Decision"),
            other => unreachable!("the table has no type {other}"),
        }
    }
}
