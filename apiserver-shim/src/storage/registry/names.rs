//! Generated names, and the clock that stamps objects.

use shim_model::time::Instant;

/// A name that begins with `base`, as upstream generates them: five random characters at the end, 63 in all. The alphabet has
/// no vowels, so that no words come out.
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

/// The time now, to the microsecond.
pub fn now() -> Instant {
    Instant(jiff::Timestamp::now().as_microsecond())
}
