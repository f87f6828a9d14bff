//! Parts of times and durations. Times are in UTC unless a zone is named.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

use shim_model::time::{civil, parse_nanoseconds, rfc3339_nano};

use super::Found;
use crate::cel::eval::{EvalError, text};
use crate::cel::value::Val;

/// Parses a time of RFC 3339, or a date, to nanoseconds since 1970.
pub(in crate::cel) fn parse_timestamp(text: &str) -> Option<i128> {
    let date = text.len() == 10;
    if date { parse_nanoseconds(&format!("{text}T00:00:00Z")) } else { parse_nanoseconds(text) }
}

/// A time as a value, if it is in the years 1 to 9999.
pub(super) fn within_years<'v>(at: i128) -> Result<Val<'v>, EvalError> {
    let seconds = at.div_euclid(1_000_000_000);
    let is_within = (-62_135_596_800..=253_402_300_799).contains(&seconds);
    if is_within { Ok(Val::Timestamp(at)) } else { Err(EvalError::new("timestamp overflow")) }
}

/// Prints a time as RFC 3339.
pub(in crate::cel) fn print_timestamp(at: i128) -> String {
    rfc3339_nano(at)
}

fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::new(format!("unknown time zone {name}"));
    if let Some((hours, minutes)) = name.split_once(':') {
        let (hours, minutes): (i16, i16) =
            (hours.parse().map_err(|_| unknown())?, minutes.parse().map_err(|_| unknown())?);
        let sign = if name.starts_with('-') { -1 } else { 1 };
        let seconds = i32::from(hours) * 3600 + sign * i32::from(minutes) * 60;
        return Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| unknown());
    }
    TimeZone::get(name).map_err(|_| unknown())
}

pub(super) fn call<'v>(function: &str, all: &[Val<'v>]) -> Found<'v> {
    match all {
        [Val::Duration(value)] => Ok(Some(Val::Int(match function {
            "getHours" => value / 3_600_000_000_000,
            "getMinutes" => value / 60_000_000_000,
            "getSeconds" => value / 1_000_000_000,
            "getMilliseconds" => value / 1_000_000,
            _ => return Ok(None),
        }))),
        [Val::Timestamp(at), rest @ ..] => {
            let zone = rest.first().map(text).transpose()?.map_or(Ok(TimeZone::UTC), zone)?;
            let overflow = || EvalError::new("timestamp overflow");
            // The offset at the last day is that of the day before, where the time stamps of the library end.
            let offset = zone.to_offset(Timestamp::from_nanosecond(*at).unwrap_or(Timestamp::MAX));
            let at = civil(*at).ok_or_else(overflow)?;
            let at = at.checked_add(i64::from(offset.seconds()).seconds()).map_err(|_| overflow())?;
            Ok(Some(Val::Int(match function {
                "getFullYear" => at.year().into(),
                "getMonth" => i64::from(at.month()) - 1,
                "getDate" => at.day().into(),
                "getDayOfMonth" => i64::from(at.day()) - 1,
                "getDayOfWeek" => at.weekday().to_sunday_zero_offset().into(),
                "getDayOfYear" => i64::from(at.day_of_year()) - 1,
                "getHours" => at.hour().into(),
                "getMinutes" => at.minute().into(),
                "getSeconds" => at.second().into(),
                "getMilliseconds" => at.millisecond().into(),
                _ => return Ok(None),
            })))
        }
        _ => Ok(None),
    }
}
