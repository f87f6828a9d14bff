//! A quantity as Go keeps it in memory: a whole number and a scale, or a decimal where those do not suffice.

/// Digits that fit into the whole number.
const DIGITS_MAX: usize = 18;
/// The scale of the smallest amount.
const NANO: i32 = -9;

/// The parts of a canonical text.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    base: u32,
    exponent: i32,
    format: &'static str,
}

/// The members of the struct as Go's dump prints them.
pub(super) fn dump(text: &str) -> String {
    let parts = Parts::of(text);
    let (amount, decimal, is_kept) = match parts.small() {
        Some((value, scale, is_kept)) => ((value, scale), "<nil>".to_owned(), is_kept),
        None => ((0, 0), parts.decimal(), false),
    };
    let kept = if is_kept { text } else { "" };
    format!(
        "{{i:(resource.int64Amount){{value:(int64){} scale:(resource.Scale){}}} d:(resource.infDecAmount){{Dec:(*inf.Dec){decimal}}} s:(string){kept} Format:(resource.Format){}}}",
        amount.0, amount.1, parts.format
    )
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Parts<'a> {
        let unsigned = text.trim_start_matches(['-', '+']);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        let (base, exponent, format) = interpret(suffix);
        Parts { negative: text.starts_with('-'), whole, fraction, base, exponent, format }
    }

    /// The value, its scale, and whether the text is kept beside them.
    fn small(&self) -> Option<(i64, i32, bool)> {
        if self.whole == "0" && self.fraction.is_empty() {
            return Some((0, 0, self.base == 10 && self.exponent == 0));
        }
        let digits = format!("{}{}", self.whole, self.fraction);
        let value: i64 = digits.parse().ok()?;
        let sign = if self.negative { -1 } else { 1 };
        if self.base == 2 {
            // Ten bits are about three digits.
            let room = 15 - digits.len() as i32 - self.exponent * 3 / 10 - 1;
            let whole = room >= 0 && self.fraction.is_empty();
            let value_bytes = whole.then(|| value.checked_mul(1 << self.exponent)).flatten()?;
            return Some((sign * value_bytes, 0, value & 7 != 0));
        }
        let scale = self.exponent - self.fraction.len() as i32;
        if digits.len() > DIGITS_MAX || scale < NANO {
            return None;
        }
        let is_kept = scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0');
        Some((sign * value, scale, is_kept))
    }

    /// A decimal of nine fractional digits, in words of 64 bits.
    fn decimal(&self) -> String {
        let digits = format!("{}{}", self.whole, self.fraction);
        let shift = -NANO - self.fraction.len() as i32;
        let (bits, tens) = if self.base == 2 { (self.exponent, shift) } else { (0, shift + self.exponent) };
        let scaled = digits.parse::<u128>().ok().and_then(|value| value.checked_mul(1 << bits));
        let value = match u32::try_from(tens) {
            Ok(tens) => scaled.and_then(|value| value.checked_mul(10u128.checked_pow(tens)?)),
            Err(_) => scaled.map(|value| value.div_ceil(10u128.saturating_pow(tens.unsigned_abs()))),
        };
        let value = value.unwrap_or(u128::MAX);
        let words = [value as u64, (value >> 64) as u64];
        let words: Vec<String> =
            words.iter().take(1 + usize::from(words[1] != 0)).map(u64::to_string).collect();
        format!(
            "{{unscaled:(big.Int){{neg:(bool){} abs:(big.nat)[{}]}} scale:(inf.Scale)9}}",
            self.negative,
            words.join(" ")
        )
    }
}

/// Base, exponent and format of a suffix.
fn interpret(suffix: &str) -> (u32, i32, &'static str) {
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(at) = BINARY.iter().position(|known| *known == suffix) {
        return (2, 10 * (at as i32 + 1), "BinarySI");
    }
    match DECIMAL.iter().find(|(known, _)| *known == suffix) {
        Some((_, exponent)) => (10, *exponent, "DecimalSI"),
        None => (10, suffix[1..].parse().unwrap_or(0), "DecimalExponent"),
    }
}
