//! Schedules in the syntax of cron, with upstream's errors.

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

const MACROS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let mut spec = text;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let Some((zone, rest)) = text.split_once(' ') else {
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned());
        };
        let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
        if let Err(why) = super::time_zone(zone) {
            return Err(format!("provided bad location {zone}: {why}"));
        }
        spec = rest.trim();
    }
    if spec.starts_with('@') {
        return descriptor(spec);
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly {} fields, found {}: [{}]",
            FIELDS.len(),
            fields.len(),
            fields.join(" ")
        ));
    }
    let mut parts = fields.iter().zip(&FIELDS);
    parts.try_for_each(|(field, bounds)| {
        field.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, bounds))
    })
}

fn descriptor(spec: &str) -> Result<(), String> {
    if MACROS.contains(&spec) {
        return Ok(());
    }
    match spec.strip_prefix("@every ") {
        None => Err(format!("unrecognized descriptor: {spec}")),
        Some(text) if is_duration(text) => Ok(()),
        Some(text) => Err(format!("failed to parse duration {spec}: time: invalid duration \"{text}\"")),
    }
}

/// Whether a text is a duration as Go reads it: `1h30m`, `1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return false;
        }
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        if !units.contains(&&after[..letters]) {
            return false;
        }
        rest = &after[letters..];
    }
    true
}

/// `low[-high][/step]`, where `*` and `?` stand for all.
fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
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
    Ok(())
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
    use super::check;
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
            all.iter().map(|s| format!("{s:?}: {}", check(s).err().unwrap_or_default())).collect();
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
}
