//! `generateName`, and the clock for timestamps of objects.

use shim_model::time::Instant;

/// Generates a name as upstream does: `base`, shortened so that the result has at most 63 characters, and five random
/// ones. The alphabet has no vowels, so that no words appear.
pub fn generate_name(base: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const SUFFIX: usize = 5;
    const NAME_MAX: usize = 63;
    let mut end = base.len().min(NAME_MAX - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut random = uuid::Uuid::new_v4().as_u128();
    for _ in 0..SUFFIX {
        name.push(char::from(ALPHABET[(random % ALPHABET.len() as u128) as usize]));
        random /= ALPHABET.len() as u128;
    }
    name
}

/// The current time, truncated to microseconds.
pub fn now() -> Instant {
    Instant(jiff::Timestamp::now().as_microsecond())
}
