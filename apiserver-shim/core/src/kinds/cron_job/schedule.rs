//! Schedules in the syntax of cron, with upstream's errors: parsed, and the times that they name.

use shim_model::time::{Civil, Zone};

use crate::rows::Seconds;

/// Bounds and names of a field.
struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

const fn numbers(least: u64, most: u64) -> Bounds {
    Bounds { least, most, names: &[] }
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Minute, hour, day of the month, month, day of the week.
const FIELDS: [Bounds; 5] = [
    numbers(0, 59),
    numbers(0, 23),
    numbers(1, 31),
    Bounds { least: 1, most: 12, names: MONTHS },
    Bounds { least: 0, most: 6, names: DAYS },
];

/// The descriptors, with the fields that they stand for.
const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The values of a field, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Field {
    values: u64,
    /// Whether it is `*` or `?`, for which the other field of days decides.
    any: bool,
}

impl Field {
    fn has(self, value: i64) -> bool {
        self.values >> value & 1 == 1
    }
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The zone of a prefix `TZ=`.
    zone: Option<Zone>,
    times: Times,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Times {
    /// Minute, hour, day of the month, month, day of the week.
    Fields([Field; 5]),
    /// Seconds between two times.
    Every(Seconds),
}

/// Years after which a schedule is taken to name no time, as upstream.
const YEARS_MAX: i64 = 5;

impl Schedule {
    /// Parses a schedule. The error is upstream's text.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (mut spec, mut zone) = (text, None);
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            let Some((prefix, rest)) = text.split_once(' ') else {
                return Err(
                    "invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned()
                );
            };
            let name = prefix.split_once('=').map_or("", |(_, zone)| zone);
            if let Err(why) = super::time_zone(name) {
                return Err(format!("provided bad location {name}: {why}"));
            }
            zone = Zone::get(name);
            spec = rest.trim();
        }
        let times = if spec.starts_with('@') { descriptor(spec)? } else { Times::Fields(fields(spec)?) };
        Ok(Schedule { zone, times })
    }

    /// The first time after another, by the clocks of a zone; `None` if there is none within five years. As upstream, a time
    /// that a change of the clocks skips is left out, and one that is there twice counts twice.
    pub fn next(&self, after: Seconds, zone: &Zone) -> Option<Seconds> {
        match &self.times {
            Times::Every(seconds) => Some(after + seconds),
            Times::Fields(fields) => next(fields, after, self.zone.as_ref().unwrap_or(zone)),
        }
    }
}

/// Increments the first part of the time that does not match, from the month down, and begins again when a part wraps.
fn next(
    [minutes, hours, days, months, weekdays]: &[Field; 5],
    after: Seconds,
    zone: &Zone,
) -> Option<Seconds> {
    let day_matches = |at: Civil| {
        let (day, weekday) = (days.has(at.day), weekdays.has(at.weekday()));
        if days.any || weekdays.any { day && weekday } else { day || weekday }
    };
    let mut at = after + 1;
    let last_year = zone.civil(at).year + YEARS_MAX;
    // Whether the smaller parts are at their first values.
    let mut reset = false;
    'wrapped: loop {
        let mut now = zone.civil(at);
        if now.year > last_year {
            return None;
        }
        while !months.has(now.month) {
            let from = if reset { now } else { Civil { day: 1, hour: 0, minute: 0, second: 0, ..now } };
            reset = true;
            at = zone.at(Civil { month: from.month + 1, ..from });
            now = zone.civil(at);
            if now.month == 1 {
                continue 'wrapped;
            }
        }
        while !day_matches(now) {
            let from = if reset { now } else { Civil { hour: 0, minute: 0, second: 0, ..now } };
            reset = true;
            at = zone.at(Civil { day: from.day + 1, ..from });
            // A change of the clocks at midnight.
            at += match zone.civil(at).hour {
                hour @ 13.. => (24 - hour) * 3600,
                hour => -hour * 3600,
            };
            now = zone.civil(at);
            if now.day == 1 {
                continue 'wrapped;
            }
        }
        while !hours.has(now.hour) {
            if !reset {
                at = zone.at(Civil { minute: 0, second: 0, ..now });
                reset = true;
            }
            at += 3600;
            now = zone.civil(at);
            if now.hour == 0 {
                continue 'wrapped;
            }
        }
        while !minutes.has(now.minute) {
            if !reset {
                at -= at.rem_euclid(60);
                reset = true;
            }
            at += 60;
            now = zone.civil(at);
            if now.minute == 0 {
                continue 'wrapped;
            }
        }
        if now.second == 0 {
            return Some(at);
        }
        reset = true;
        at += 60 - now.second;
    }
}

fn fields(spec: &str) -> Result<[Field; 5], String> {
    let texts: Vec<&str> = spec.split_whitespace().collect();
    if texts.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly {} fields, found {}: [{}]",
            FIELDS.len(),
            texts.len(),
            texts.join(" ")
        ));
    }
    let mut fields = [Field::default(); 5];
    for ((field, text), bounds) in fields.iter_mut().zip(texts).zip(&FIELDS) {
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let more = range(part, bounds)?;
            *field = Field { values: field.values | more.values, any: field.any || more.any };
        }
    }
    Ok(fields)
}

fn descriptor(spec: &str) -> Result<Times, String> {
    if let Some((_, meaning)) = MACROS.iter().find(|(name, _)| *name == spec) {
        return fields(meaning).map(Times::Fields);
    }
    let Some(text) = spec.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {spec}"));
    };
    match duration(text) {
        Some(seconds) => Ok(Times::Every(seconds.max(1))),
        None => Err(format!("failed to parse duration {spec}: time: invalid duration \"{text}\"")),
    }
}

/// The whole seconds of a duration as Go reads it: `1h30m`, `1.5s`.
fn duration(text: &str) -> Option<Seconds> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return None;
        }
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (_, seconds) = UNITS.iter().find(|(unit, _)| *unit == &after[..letters])?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = &after[letters..];
    }
    // A microsecond absorbs the error of fractions; a duration of Go has at most 292 years.
    let seconds = (total + 1e-6).floor();
    (seconds < 9.3e9).then_some(if negative { -(seconds as Seconds) } else { seconds as Seconds })
}

/// `low[-high][/step]`, where `*` and `?` stand for all.
fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let (start, mut end) = match (ends[0], &ends[1..]) {
        ("*" | "?", _) => (bounds.least, bounds.most),
        (low, []) => {
            let low = number_or_name(low, bounds.names)?;
            (low, low)
        }
        (low, [high]) => (number_or_name(low, bounds.names)?, number_or_name(high, bounds.names)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match &steps[1..] {
        [] => 1,
        [step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.most;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.least {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.least));
    }
    if end > bounds.most {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.most));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    let values = (start..=end).step_by(step).fold(0, |values, value| values | 1 << value);
    Ok(Field { values, any: matches!(ends[0], "*" | "?") && step == 1 })
}

fn number_or_name(text: &str, names: &[&str]) -> Result<u64, String> {
    let lower = text.to_lowercase();
    // Months count from 1, days of the week from 0.
    let first = u64::from(names.len() == MONTHS.len());
    match names.iter().position(|name| *name == lower) {
        Some(at) => Ok(at as u64 + first),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(number) => {
            u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
        }
        Err(error) => {
            let why = match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn schedules_are_checked_with_upstreams_errors() {
        let all = [
            "0 0 1 1 *",
            "*/5 * * * *",
            "0 9-17/2 ? jan-MAR mon,fri",
            "@yearly",
            "@every 1h30m",
            "",
            "not a cron",
            "*/0 * * * *",
            "60 * * * *",
            "* 5-3 * * *",
            "* * 0 * *",
            "* * * * 7",
            "a * * * *",
            "1-2-3 * * * *",
            "1/2/3 * * * *",
            "-1 * * * *",
            "@sometimes",
            "@every soon",
            "5/10 * * * *",
        ];
        let shown: Vec<String> =
            all.iter().map(|s| format!("{s:?}: {}", Schedule::parse(s).err().unwrap_or_default())).collect();
        expect![[r#"
            "0 0 1 1 *": 
            "*/5 * * * *": 
            "0 9-17/2 ? jan-MAR mon,fri": 
            "@yearly": 
            "@every 1h30m": 
            "": empty spec string
            "not a cron": expected exactly 5 fields, found 3: [not a cron]
            "*/0 * * * *": step of range should be a positive number: */0
            "60 * * * *": end of range (60) above maximum (59): 60
            "* 5-3 * * *": beginning of range (5) beyond end of range (3): 5-3
            "* * 0 * *": beginning of range (0) below minimum (1): 0
            "* * * * 7": end of range (7) above maximum (6): 7
            "a * * * *": failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax
            "1-2-3 * * * *": too many hyphens: 1-2-3
            "1/2/3 * * * *": too many slashes: 1/2/3
            "-1 * * * *": failed to parse int from : strconv.Atoi: parsing "": invalid syntax
            "@sometimes": unrecognized descriptor: @sometimes
            "@every soon": failed to parse duration @every soon: time: invalid duration "soon"
            "5/10 * * * *": "#]]
        .assert_eq(&shown.join("\n"));
    }

    fn times(schedule: &str, zone: &str, from: &str) -> String {
        let zone = Zone::get(zone).expect("a zone");
        let schedule = Schedule::parse(schedule).expect("a schedule");
        let mut at = crate::rows::seconds(from).expect("a time");
        let mut shown = Vec::new();
        for _ in 0..4 {
            match schedule.next(at, &zone) {
                None => shown.push("never".to_owned()),
                Some(next) => {
                    shown.push(zone.rfc3339(next));
                    at = next;
                }
            }
        }
        shown.dedup();
        shown.join(" ")
    }

    #[test]
    fn schedules_name_times() {
        let cases = [
            ("* * * * *", "UTC", "2026-01-01T00:00:30Z"),
            ("*/15 9-10 * * *", "UTC", "2026-01-01T09:40:00Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z"),
            ("0 0 31 2 *", "UTC", "2026-01-01T00:00:00Z"),
            ("59 23 31 12 *", "UTC", "2026-12-31T23:58:59Z"),
            // Both fields of days: either suffices. One of them is any: both must match.
            ("0 12 13 * FRI", "UTC", "2026-01-01T00:00:00Z"),
            ("0 12 13 * ?", "UTC", "2026-01-01T00:00:00Z"),
            ("0 12 */10 * fri", "UTC", "2026-01-01T00:00:00Z"),
            ("0 6-16/4 * * 1-5", "UTC", "2026-01-02T15:00:00Z"),
            ("@hourly", "UTC", "2026-01-01T22:30:00Z"),
            ("@weekly", "UTC", "2026-01-01T00:00:00Z"),
            ("@monthly", "UTC", "2026-11-30T00:00:00Z"),
            ("@yearly", "UTC", "2026-11-30T00:00:00Z"),
            ("@every 1h30m", "UTC", "2026-01-01T00:00:10Z"),
            ("@every 0.5s", "UTC", "2026-01-01T00:00:10Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z"),
            ("0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00:00Z"),
            ("0 9 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z"),
            ("TZ=Asia/Tokyo 0 9 * * *", "UTC", "2026-01-01T00:00:00Z"),
        ];
        let shown: Vec<String> =
            cases.iter().map(|(s, zone, from)| format!("{s} {zone}: {}", times(s, zone, from))).collect();
        expect![[r#"
            * * * * * UTC: 2026-01-01T00:01:00Z 2026-01-01T00:02:00Z 2026-01-01T00:03:00Z 2026-01-01T00:04:00Z
            */15 9-10 * * * UTC: 2026-01-01T09:45:00Z 2026-01-01T10:00:00Z 2026-01-01T10:15:00Z 2026-01-01T10:30:00Z
            0 0 29 2 * UTC: 2028-02-29T00:00:00Z 2032-02-29T00:00:00Z 2036-02-29T00:00:00Z 2040-02-29T00:00:00Z
            0 0 31 2 * UTC: never
            59 23 31 12 * UTC: 2026-12-31T23:59:00Z 2027-12-31T23:59:00Z 2028-12-31T23:59:00Z 2029-12-31T23:59:00Z
            0 12 13 * FRI UTC: 2026-01-02T12:00:00Z 2026-01-09T12:00:00Z 2026-01-13T12:00:00Z 2026-01-16T12:00:00Z
            0 12 13 * ? UTC: 2026-01-13T12:00:00Z 2026-02-13T12:00:00Z 2026-03-13T12:00:00Z 2026-04-13T12:00:00Z
            0 12 */10 * fri UTC: 2026-01-01T12:00:00Z 2026-01-02T12:00:00Z 2026-01-09T12:00:00Z 2026-01-11T12:00:00Z
            0 6-16/4 * * 1-5 UTC: 2026-01-05T06:00:00Z 2026-01-05T10:00:00Z 2026-01-05T14:00:00Z 2026-01-06T06:00:00Z
            @hourly UTC: 2026-01-01T23:00:00Z 2026-01-02T00:00:00Z 2026-01-02T01:00:00Z 2026-01-02T02:00:00Z
            @weekly UTC: 2026-01-04T00:00:00Z 2026-01-11T00:00:00Z 2026-01-18T00:00:00Z 2026-01-25T00:00:00Z
            @monthly UTC: 2026-12-01T00:00:00Z 2027-01-01T00:00:00Z 2027-02-01T00:00:00Z 2027-03-01T00:00:00Z
            @yearly UTC: 2027-01-01T00:00:00Z 2028-01-01T00:00:00Z 2029-01-01T00:00:00Z 2030-01-01T00:00:00Z
            @every 1h30m UTC: 2026-01-01T01:30:10Z 2026-01-01T03:00:10Z 2026-01-01T04:30:10Z 2026-01-01T06:00:10Z
            @every 0.5s UTC: 2026-01-01T00:00:11Z 2026-01-01T00:00:12Z 2026-01-01T00:00:13Z 2026-01-01T00:00:14Z
            30 2 * * * Europe/Berlin: 2026-03-28T02:30:00+01:00 2026-03-30T02:30:00+02:00 2026-03-31T02:30:00+02:00 2026-04-01T02:30:00+02:00
            30 2 * * * Europe/Berlin: 2026-10-24T02:30:00+02:00 2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00 2026-10-26T02:30:00+01:00
            0 0 * * * America/Sao_Paulo: 2018-11-03T00:00:00-03:00 2018-11-05T00:00:00-02:00 2018-11-06T00:00:00-02:00 2018-11-07T00:00:00-02:00
            0 9 * * * Asia/Kathmandu: 2026-01-01T09:00:00+05:45 2026-01-02T09:00:00+05:45 2026-01-03T09:00:00+05:45 2026-01-04T09:00:00+05:45
            TZ=Asia/Tokyo 0 9 * * * UTC: 2026-01-02T00:00:00Z 2026-01-03T00:00:00Z 2026-01-04T00:00:00Z 2026-01-05T00:00:00Z"#]].assert_eq(&shown.join("\n"));
    }

    proptest::proptest! {
        /// The next time is the first minute that matches, found by looking at each.
        #[test]
        fn the_next_time_is_the_first_match(
            minute in 0..60_i64, hour in 0..24_i64, weekday in 0..7_i64, from in 0..2_000_000_000_i64, step in 1..30_i64,
        ) {
            let text = format!("{minute}-59/{step} {hour} * * {weekday}");
            let schedule = Schedule::parse(&text).expect("a schedule");
            let matches = |at: Seconds| {
                let c = Zone::UTC.civil(at);
                c.second == 0 && c.hour == hour && c.weekday() == weekday && c.minute >= minute && (c.minute - minute) % step == 0
            };
            let first = (from / 60 + 1..).map(|minutes| minutes * 60).find(|at| matches(*at));
            proptest::prop_assert_eq!(schedule.next(from, &Zone::UTC), first);
        }
    }
}
