//! Conversions between types.

use super::{Found, time};
use crate::cel::eval::EvalError;
use crate::cel::numbers::go_duration;
use crate::cel::value::{Opaque, Val};

pub(in crate::cel) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    let [x] = all else { return Ok(None) };
    let overflow = || EvalError::new("integer overflow");
    let unsigned_overflow = || EvalError::new("unsigned integer overflow");
    let unfit =
        |to: &str| EvalError::new(format!("type conversion error from '{}' to '{to}'", x.type_name()));
    let value = match (function, x) {
        ("type", x) => Val::TypeName(x.type_name()),
        ("bool", Val::Bool(_))
        | ("int", Val::Int(_))
        | ("uint", Val::Uint(_))
        | ("double", Val::Double(_)) => x.clone(),
        ("bool", Val::Text(text)) => match text.as_str() {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Val::Bool(true),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Val::Bool(false),
            _ => return Err(unfit("bool")),
        },
        ("bytes", Val::Text(text)) => Val::Bytes(text.as_str().as_bytes().into()),
        ("bytes", Val::Bytes(_)) => x.clone(),
        ("double", Val::Int(value)) => Val::Double(*value as f64),
        ("double", Val::Uint(value)) => Val::Double(*value as f64),
        ("double", Val::Text(text)) => Val::Double(text.as_str().parse().map_err(|_| unfit("double"))?),
        ("int", Val::Uint(value)) => Val::Int(i64::try_from(*value).map_err(|_| overflow())?),
        ("int", Val::Double(value)) if value.abs() < 9.2e18 => Val::Int(*value as i64),
        ("int", Val::Double(_)) => return Err(overflow()),
        ("int", Val::Text(text)) => Val::Int(text.as_str().parse().map_err(|_| unfit("int"))?),
        ("int", Val::Timestamp(at)) => Val::Int((at / 1_000_000_000) as i64),
        ("int", Val::Duration(value)) => Val::Int(*value),
        ("uint", Val::Int(value)) => Val::Uint(u64::try_from(*value).map_err(|_| unsigned_overflow())?),
        ("uint", Val::Double(value)) if (0.0..1.8e19).contains(value) => Val::Uint(*value as u64),
        ("uint", Val::Double(_)) => return Err(unsigned_overflow()),
        ("uint", Val::Text(text)) => Val::Uint(text.as_str().parse().map_err(|_| unfit("uint"))?),
        ("string", Val::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Val::text(text),
            Err(_) => return Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        ("string", Val::List(_) | Val::Map(_) | Val::Optional(_) | Val::Null) => return Ok(None),
        ("string", Val::Opaque(of)) if !matches!(of, Opaque::Ip(_) | Opaque::Cidr(_)) => return Ok(None),
        ("string", x) => Val::text(x.to_string()),
        ("duration", Val::Duration(_)) => x.clone(),
        // Upstream declares it, and converts none.
        ("duration", Val::Int(_)) => return Err(unfit("google.protobuf.Duration")),
        ("duration", Val::Text(text)) => {
            Val::Duration(go_duration(text.as_str()).ok_or_else(|| unfit("google.protobuf.Duration"))?)
        }
        ("timestamp", Val::Timestamp(_)) => x.clone(),
        ("timestamp", Val::Int(seconds)) => time::within_years(i128::from(*seconds) * 1_000_000_000)?,
        ("timestamp", Val::Text(text)) => {
            let parsed = time::parse_timestamp(text.as_str());
            Val::Timestamp(parsed.ok_or_else(|| unfit("google.protobuf.Timestamp"))?)
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}
