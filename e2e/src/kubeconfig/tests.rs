//! Tests of valid kubeconfigs, and of the errors for invalid ones.

use super::*;

const CONFIG: &str = "
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443', certificate-authority: ca.pem}}]
users: [{name: u, user: {token: secret}}]
";

fn with(authority: &str) -> anyhow::Result<Access> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("ca.pem"), "")?;
    parse(&CONFIG.replace("https://127.0.0.1:6443", authority), directory.path())
}

#[test]
fn the_current_context_is_read() {
    let access = with("https://127.0.0.1:6443").unwrap();
    assert_eq!((access.authority.as_str(), access.token.as_deref()), ("127.0.0.1:6443", Some("secret")));
    assert_eq!(with("https://api.example/").unwrap().authority, "api.example:443");
}

#[test]
fn what_is_wrong_is_said() {
    let said = |result: anyhow::Result<Access>| format!("{:#}", result.err().expect("it is refused"));
    assert!(said(with("http://a:1")).contains("not https"));
    assert!(said(with("https://a:1/path")).contains("path"));
    assert!(said(parse("{}", Path::new("."))).contains("current-context"));
    assert!(said(parse(CONFIG, Path::new("/nonexistent"))).contains("certificate-authority"));
}
