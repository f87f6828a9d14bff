//! `/files/…` of the agent: parameters, and the form of responses.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt};

use hyper::{StatusCode, header};
use kernel_wire::v1;
use nix::unistd::{Gid, Group, Uid, User};
use serde_json::{Value as Json, json};

use super::{Handlers, files, mime_types};
use crate::http::{
    Answer,
    negotiate::{text, with_header},
    query::{Query, file_path, file_range},
};

/// The names of the users and groups that own the entries of a listing; a number stands for what has no name. The lookups
/// may ask a name service, so each happens once.
#[derive(Default)]
pub(super) struct OwnerNames {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl OwnerNames {
    fn user(&mut self, uid: u32) -> String {
        let name = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.users.entry(uid).or_insert_with(|| name().unwrap_or_else(|| uid.to_string())).clone()
    }

    fn group(&mut self, gid: u32) -> String {
        let name = || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
        self.groups.entry(gid).or_insert_with(|| name().unwrap_or_else(|| gid.to_string())).clone()
    }

    /// The description of a file. Blocks.
    pub(super) fn describe(&mut self, path: String, metadata: &std::fs::Metadata) -> v1::FileInfo {
        v1::FileInfo {
            path,
            nlink: i32::try_from(metadata.nlink()).ok(),
            size: Some(metadata.len()),
            mtime: Some(v1::TimeInfo { nanoseconds: metadata.mtime().saturating_mul(1_000_000_000) }),
            mode: Some(metadata.mode()),
            uid: Some(self.user(metadata.uid())),
            gid: Some(self.group(metadata.gid())),
        }
    }
}

fn bad_request(why: String) -> Answer {
    text(StatusCode::BAD_REQUEST, why)
}

pub(super) async fn browse(handlers: &Handlers, query: &Query) -> Result<Json, Answer> {
    let entries = files::browse(handlers, file_path(query).map_err(bad_request)?).await?;
    let list = entries.iter().map(|entry| {
        json!({
            "path": entry.path,
            "size": entry.size,
            "nlink": entry.nlink,
            "mtime": entry.mtime.as_ref().map(|time| time.nanoseconds as f64 / 1e9),
            "mode": mode_text(entry.mode.unwrap_or_default()),
            "uid": entry.uid,
            "gid": entry.gid,
        })
    });
    Ok(list.collect())
}

/// A mode as `ls -l` shows it, without the bits for set-user-id and the like.
fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let bits = (0..9).map(|at| if mode & (0o400 >> at) == 0 { '-' } else { ['r', 'w', 'x'][at % 3] });
    std::iter::once(kind).chain(bits).collect()
}

pub(super) async fn read(handlers: &Handlers, query: &Query) -> Result<Json, Answer> {
    let wanted = file_range(query).map_err(bad_request)?;
    let length = match wanted.offset {
        None => 0,
        Some(_) => wanted.length.unwrap_or(files::READ_MAX),
    };
    let range = files::range(handlers, wanted.path, wanted.offset.unwrap_or(0), length).await?;
    let offset = wanted.offset.unwrap_or(range.size);
    Ok(json!({"offset": offset, "data": String::from_utf8_lossy(&range.data)}))
}

pub(super) async fn download(handlers: &Handlers, query: &Query) -> Result<Answer, Answer> {
    let path = file_path(query).map_err(bad_request)?;
    let (answer, name) = files::download(handlers, path).await?;
    let answer = with_header(answer, header::CONTENT_TYPE, mime_types::of(&name));
    Ok(with_header(answer, header::CONTENT_DISPOSITION, &format!("attachment; filename={}", quoted(&name))))
}

/// A file name as a parameter of a header: as it is if it may stand there.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$&+-.^_`|~".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace(['"', '\\'], "").replace(char::is_control, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_names_of_files() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o010_600, "prw-------"),
            (0o020_666, "crw-rw-rw-"),
            (0o060_001, "b--------x"),
            (0o140_777, "srwxrwxrwx"),
            (0o104_755, "-rwxr-xr-x"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
        for (name, shown) in
            [("stdout", "stdout"), ("a b", "\"a b\""), ("x\"\r\ny", "\"xy\""), ("é", "\"é\"")]
        {
            assert_eq!(quoted(name), shown);
        }
    }
}
