//! The administrator's kubeconfig as text. Certificates are embedded, so that the file can be copied.
//!
//! [`merge`] adds the cluster to a kubeconfig that its owner has edited, and [`remove`] removes it: everything else in it stays.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_yaml_ng::{Mapping, Value};

use crate::{Issued, PkiError};

/// The name of cluster, user and context, with a number where it is taken by another cluster.
pub const NAME: &str = "catamaran";

/// A kubeconfig to which a cluster was added.
#[derive(Debug)]
pub struct Merged {
    /// The whole file.
    pub text: String,
    /// The name of the cluster's context.
    pub context: String,
}

/// Adds the cluster of `rendered`, which [`render`] wrote, to `existing`, which may be empty. An entry for the same server or
/// certificate authority gets the new address and certificates and keeps its other fields, such as a context's namespace. The
/// current context changes only if there is none.
pub fn merge(existing: &str, rendered: &str) -> Result<Merged, PkiError> {
    let mut file = parse(existing)?;
    let ours = parse(rendered)?;
    for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        file.entry(key.into()).or_insert_with(|| value.into());
    }
    let cluster = entry_fields(&ours, "clusters", "cluster", NAME).cloned().unwrap_or_default();
    let name = name_for(&file, &cluster);
    update(&mut file, "clusters", "cluster", &name, cluster)?;
    let user = entry_fields(&ours, "users", "user", NAME).cloned().unwrap_or_default();
    update(&mut file, "users", "user", &name, user)?;
    let context = Mapping::from_iter(["cluster", "user"].map(|key| (key.into(), name.as_str().into())));
    update(&mut file, "contexts", "context", &name, context)?;
    if file.get("current-context").and_then(Value::as_str).is_none_or(str::is_empty) {
        file.insert("current-context".into(), name.as_str().into());
    }
    let text = serde_yaml_ng::to_string(&file).map_err(|e| PkiError::malformed("kubeconfig", e))?;
    Ok(Merged { text, context: name })
}

/// A kubeconfig from which a cluster was removed.
#[derive(Debug)]
pub struct Removed {
    /// The whole file.
    pub text: String,
    /// The names of the removed contexts, which may be none.
    pub contexts: Vec<String>,
}

/// Removes the clusters with this certificate authority, the contexts of these clusters, and the users that only these contexts
/// have. A removed context is no longer the current one.
pub fn remove(existing: &str, authority_pem: &str) -> Result<Removed, PkiError> {
    let mut file = parse(existing)?;
    let authority = Value::from(STANDARD.encode(authority_pem));
    let has_authority = |cluster: &Mapping| cluster.get("certificate-authority-data") == Some(&authority);
    let clusters = remove_entries(&mut file, "clusters", "cluster", |_, cluster| has_authority(cluster));
    let names = |field: &Mapping, key: &str, of: &[String]| {
        field.get(key).and_then(Value::as_str).is_some_and(|name| of.iter().any(|known| known == name))
    };
    let mut users = Vec::new();
    let contexts = remove_entries(&mut file, "contexts", "context", |_, context| {
        let removed = names(context, "cluster", &clusters);
        if removed {
            users.extend(context.get("user").and_then(Value::as_str).map(str::to_owned));
        }
        removed
    });
    let kept = file.get("contexts").and_then(Value::as_sequence).cloned().unwrap_or_default();
    let kept_users: Vec<&str> =
        kept.iter().filter_map(|entry| entry.get("context")?.get("user")?.as_str()).collect();
    users.retain(|user| !kept_users.contains(&user.as_str()));
    remove_entries(&mut file, "users", "user", |name, _| users.iter().any(|user| user == name));
    let current = file.get("current-context").and_then(Value::as_str);
    if current.is_some_and(|current| contexts.iter().any(|context| context == current)) {
        file.insert("current-context".into(), "".into());
    }
    let text = serde_yaml_ng::to_string(&file).map_err(|e| PkiError::malformed("kubeconfig", e))?;
    Ok(Removed { text, contexts })
}

/// Removes the entries of a list that `is_removed` by name and fields, and returns their names.
fn remove_entries(
    file: &mut Mapping,
    list: &str,
    fields: &str,
    mut is_removed: impl FnMut(&str, &Mapping) -> bool,
) -> Vec<String> {
    let mut removed = Vec::new();
    if let Some(entries) = file.get_mut(list).and_then(Value::as_sequence_mut) {
        entries.retain(|entry| {
            let named = entry_name(entry).zip(entry.get(fields).and_then(Value::as_mapping));
            let Some((name, _)) = named.filter(|(name, fields)| is_removed(name, fields)) else {
                return true;
            };
            removed.push(name.to_owned());
            false
        });
    }
    removed
}

fn parse(text: &str) -> Result<Mapping, PkiError> {
    match serde_yaml_ng::from_str(text).map_err(|e| PkiError::malformed("kubeconfig", e))? {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(file) => Ok(file),
        _ => Err(PkiError::malformed("kubeconfig", "it is not a mapping")),
    }
}

/// The fields of an entry, `clusters[name=…].cluster` for instance.
fn entry_fields<'a>(file: &'a Mapping, list: &str, fields: &str, name: &str) -> Option<&'a Mapping> {
    let entries = file.get(list)?.as_sequence()?;
    entries.iter().find(|entry| entry_name(entry) == Some(name))?.get(fields)?.as_mapping()
}

fn entry_name(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

/// The name of the entry that is for the same cluster, or a free one.
fn name_for(file: &Mapping, cluster: &Mapping) -> String {
    let names = std::iter::once(NAME.to_owned()).chain((2..).map(|number| format!("{NAME}-{number}")));
    let same = |known: &Mapping| {
        ["server", "certificate-authority-data"].iter().any(|key| known.get(key) == cluster.get(key))
    };
    let usable = |name: &String| entry_fields(file, "clusters", "cluster", name).is_none_or(same);
    names.into_iter().find(usable).expect("invariant: a file has finitely many names")
}

/// Sets fields of an entry and keeps its others.
fn update(
    file: &mut Mapping,
    list: &'static str,
    key: &str,
    name: &str,
    fields: Mapping,
) -> Result<(), PkiError> {
    let wrong = || PkiError::malformed("kubeconfig", format!("'{list}' is not a list of named entries"));
    let entries = file.entry(list.into()).or_insert(Value::Null);
    if entries.is_null() {
        *entries = Value::Sequence(Vec::new());
    }
    let entries = entries.as_sequence_mut().ok_or_else(wrong)?;
    let position = entries.iter().position(|entry| entry_name(entry) == Some(name));
    let position = position.unwrap_or_else(|| {
        entries.push(Value::Mapping(Mapping::from_iter([("name".into(), name.into())])));
        entries.len() - 1
    });
    let entry = entries[position].as_mapping_mut().ok_or_else(wrong)?;
    match entry.entry(key.into()).or_insert(Value::Null) {
        Value::Mapping(known) => known.extend(fields),
        other => *other = Value::Mapping(fields),
    }
    Ok(())
}

/// What a client needs to talk to the cluster of a kubeconfig that [`render`] wrote. Certificates and the key are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Access {
    pub server: String,
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

/// Reads the cluster and user of the current context, whose certificates must be embedded.
pub fn read(text: &str) -> Result<Access, PkiError> {
    let file = parse(text)?;
    let absent = |what: &str| PkiError::malformed("kubeconfig", format!("it has no {what}"));
    let named = |of: Option<&Mapping>, key: &str| {
        of.and_then(|fields| fields.get(key)).and_then(Value::as_str).map(str::to_owned)
    };
    let context =
        file.get("current-context").and_then(Value::as_str).ok_or_else(|| absent("current context"))?;
    let context = entry_fields(&file, "contexts", "context", context);
    let name = |key: &'static str| named(context, key).ok_or_else(|| absent(key));
    let (cluster, user) = (name("cluster")?, name("user")?);
    let cluster = entry_fields(&file, "clusters", "cluster", &cluster);
    let user = entry_fields(&file, "users", "user", &user);
    let pem = |of: Option<&Mapping>, key: &'static str| {
        let encoded = named(of, key).ok_or_else(|| absent(key))?;
        let pem = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        pem.ok_or_else(|| PkiError::malformed("kubeconfig", format!("'{key}' is not a PEM text in base64")))
    };
    Ok(Access {
        server: named(cluster, "server").ok_or_else(|| absent("server"))?,
        authority: pem(cluster, "certificate-authority-data")?,
        certificate: pem(user, "client-certificate-data")?,
        key: pem(user, "client-key-data")?,
    })
}

/// A kubeconfig with one cluster, user and context, all named `catamaran`.
pub fn render(server: &str, authority_pem: &str, admin: &Issued) -> String {
    let ca = STANDARD.encode(authority_pem);
    let certificate = STANDARD.encode(&admin.certificate);
    let key = STANDARD.encode(&admin.key);
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
