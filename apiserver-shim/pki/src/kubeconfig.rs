//! The administrator's kubeconfig as text. Certificates are embedded, so that the file can be copied.

use crate::Issued;

/// A kubeconfig with one cluster, user and context, all named `catamaran`.
pub fn render(server: &str, authority_pem: &str, admin: &Issued) -> String {
    let ca = base64(authority_pem.as_bytes());
    let certificate = base64(admin.certificate.as_bytes());
    let key = base64(admin.key.as_bytes());
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: catamaran\n\
         clusters:\n\
         - name: catamaran\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {ca}\n\
         users:\n\
         - name: catamaran\n\
         \x20 user:\n\
         \x20   client-certificate-data: {certificate}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: catamaran\n\
         \x20 context:\n\
         \x20   cluster: catamaran\n\
         \x20   user: catamaran\n\
         preferences: {{}}\n"
    )
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(ALPHABET[(group >> (18 - 6 * i)) as usize & 63] as char);
            } else {
                out.push('=');
            }
        }
    }
    out
}
