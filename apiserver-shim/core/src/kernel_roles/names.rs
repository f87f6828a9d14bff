//! Names of objects for roles. A role may contain what names of objects may not, such as slashes.

use kernel_model::roles::Role;
use sha2::{Digest, Sha256};

/// The longest name of an object.
const NAME_BYTES_MAX: usize = 253;

/// The name of a role's object: the role with dots for slashes (`k8s.default`) if that is a free name, and else a hash. `taken`
/// is sorted.
pub fn object_name(role: &Role, taken: &[&str]) -> String {
    let text = role.to_string();
    let readable = text.replace('/', ".");
    let is_free = taken.binary_search(&readable.as_str()).is_err();
    // A dot of the role itself would make two roles look the same.
    if !text.contains('.') && is_subdomain(&readable) && is_free {
        return readable;
    }
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("role-{hex}")
}

fn is_subdomain(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|first| letter(*first))
            && bytes.last().is_some_and(|last| letter(*last))
            && bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(label)
}
