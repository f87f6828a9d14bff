//! Look-ups in the machine's user database, and a process with other credentials (as root only).

use std::{collections::BTreeSet, process::Stdio};

use tokio::process::Command;

use super::*;

#[test]
fn users_are_looked_up_with_their_groups() {
    let root = Credentials::of("root").unwrap();
    assert!(root.uid.is_root() && root.groups.contains(&root.gid));
    assert!(matches!(Credentials::of("nobody-of-this-name"), Err(LaunchError::User(_))));
    assert!(matches!(Credentials::of("no\0body"), Err(LaunchError::User(_))));
}

#[tokio::test]
async fn a_process_has_the_supplementary_groups() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let nobody = Credentials::of("nobody").unwrap();
    let user = Credentials { groups: vec![nobody.gid, Gid::from_raw(12345)], ..nobody.clone() };
    let mut command = Command::new("sh");
    command.args(["-c", "id -u; id -G"]).stdout(Stdio::piped());
    let child: io::Result<_> = user.run(|| command.spawn());
    let output = child.unwrap().wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut ids = text.split_whitespace().map(|id| id.parse::<u32>().unwrap());
    assert_eq!(ids.next(), Some(nobody.uid.as_raw()));
    let (groups, expected): (BTreeSet<u32>, _) =
        (ids.collect(), BTreeSet::from([nobody.gid.as_raw(), 12345]));
    assert_eq!(groups, expected);
    assert!(rustix::process::geteuid().is_root(), "the test's own thread keeps its credentials");
}
