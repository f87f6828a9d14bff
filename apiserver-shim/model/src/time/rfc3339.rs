//! RFC 3339 as Go reads and prints it, for the whole of the years 0 to 9999: `9999-12-31T23:59:59Z` is what many write for "never".
//! (The time stamps of `jiff` end a day before, so that every time zone can show them.)

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, ToSpan};

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;
const EPOCH: Date = Date::constant(1970, 1, 1);

/// The date and time in UTC; `None` outside the years 0 to 9999. The argument is in nanoseconds since 1970.
pub fn civil(nanoseconds: i128) -> Option<DateTime> {
    let days = i32::try_from(nanoseconds.div_euclid(DAY)).ok()?;
    let span: Span = Span::new().try_days(days).ok()?;
    let date = EPOCH.checked_add(span).ok().filter(|date| date.year() >= 0)?;
    let of_day = i64::try_from(nanoseconds.rem_euclid(DAY)).ok()?;
    date.to_datetime(Time::midnight()).checked_add(of_day.nanoseconds()).ok()
}

/// Nanoseconds since 1970 of a time with any offset; `None` if it is no time, or not in the years 0 to 9999 in UTC.
///
/// As Go's `time.Parse(time.RFC3339, …)`, this takes hours of one digit, decimals after a comma, and offsets up to `24:60`, and no
/// leap seconds.
pub fn parse_nanoseconds(text: &str) -> Option<i128> {
    let (date, rest) = text.split_at_checked("2006-01-02".len())?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let date =
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let rest = rest.strip_prefix('T')?;
    let hour_digits = if rest.as_bytes().get(1) == Some(&b':') { 1 } else { 2 };
    let (clock, rest) = rest.split_at_checked(hour_digits + ":04:05".len())?;
    let [hour, minute, second] = fields(clock, ':', [hour_digits, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let days = i128::from((date - EPOCH).get_days());
    let of_day = i128::from(hour * 3600 + minute * 60 + second);
    let at = days * DAY + of_day * SECOND + fraction - offset(zone)? * SECOND;
    civil(at).map(|_| at)
}

/// The numbers of a text of digits with separators, if each has so many digits.
fn fields(text: &str, separator: char, digits: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        *number = number_of(parts.next().filter(|part| part.len() == digits)?)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn number_of(digits: &str) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The nanoseconds of the decimals at the start of a text, if there are any, and the rest. Beyond nine they are cut off.
fn fraction(text: &str) -> Option<(i128, &str)> {
    let Some(decimals) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let end = decimals.find(|c: char| !c.is_ascii_digit()).unwrap_or(decimals.len());
    let (digits, rest) = decimals.split_at(end);
    let mut nanoseconds = 0;
    for at in 0..9 {
        nanoseconds = nanoseconds * 10 + i128::from(digits.as_bytes().get(at).map_or(0, |b| b - b'0'));
    }
    (!digits.is_empty()).then_some((nanoseconds, rest))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i128> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes) = (number_of(hours)?, number_of(minutes)?);
    (hours <= 24 && minutes <= 60).then(|| sign * i128::from(hours * 3600 + minutes * 60))
}

/// Go's `time.RFC3339Nano`: UTC, as many decimals as are needed, at most nine. The argument is in nanoseconds since 1970.
pub fn rfc3339_nano(nanoseconds: i128) -> String {
    let digits = match nanoseconds.rem_euclid(SECOND) {
        0 => 0,
        fraction => 9 - (0..9).take_while(|zeros| fraction % 10_i128.pow(zeros + 1) == 0).count(),
    };
    print(nanoseconds, digits)
}

/// Prints a time in UTC with so many decimals.
pub(super) fn print(nanoseconds: i128, decimals: usize) -> String {
    let at = civil(nanoseconds).unwrap_or_else(|| EPOCH.to_datetime(Time::midnight()));
    let (date, time) = (at.date(), at.time());
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    if decimals > 0 {
        let fraction = format!(".{:09}", nanoseconds.rem_euclid(SECOND));
        text.push_str(&fraction[..=decimals]);
    }
    text.push('Z');
    text
}
