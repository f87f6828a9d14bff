//! The set of served resources as a value: every look-up is by hash, and a change makes a new catalog with the next
//! generation.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use indexmap::{Equivalent, IndexMap};

use crate::resource::priorities::{group_priority, is_builtin, version_order};
use crate::resource::{GroupResource, Resource};

/// An API group and its served versions, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name; empty for the core group.
    pub name: String,
    /// Versions, the preferred one first.
    pub versions: Vec<String>,
}

/// The served resources of one generation. `R` is a row: a [`Resource`] with whatever its user adds.
#[derive(Debug)]
pub struct Catalog<R> {
    generation: u64,
    rows: IndexMap<Triple, Arc<R>>,
    kinds: HashMap<Triple, usize>,
    names: HashMap<GroupResource, usize>,
    groups: Vec<Group>,
}

impl<R: AsRef<Resource>> Catalog<R> {
    /// A catalog of `rows`. Of two versions of a resource the first is the preferred one.
    pub fn new(generation: u64, rows: impl IntoIterator<Item = Arc<R>>) -> Self {
        let mut catalog = Catalog {
            generation,
            rows: IndexMap::new(),
            kinds: HashMap::new(),
            names: HashMap::new(),
            groups: Vec::new(),
        };
        for row in rows {
            catalog.add(row);
        }
        // The highest priority first.
        let rank = |name: &str| -group_priority(name);
        catalog.groups.sort_by(|a, b| (rank(&a.name), &a.name).cmp(&(rank(&b.name), &b.name)));
        // Definitions of a group are installed in any order.
        for group in catalog.groups.iter_mut().filter(|g| !is_builtin(&g.name)) {
            group.versions.sort_by_key(|version| Reverse(version_order(version)));
        }
        catalog
    }

    fn add(&mut self, row: Arc<R>) {
        let resource: &Resource = (*row).as_ref();
        let at = self.rows.len();
        self.kinds.entry(Triple::new(&resource.group, &resource.version, &resource.kind)).or_insert(at);
        self.names.entry(resource.group_resource()).or_insert(at);
        let group = match self.groups.iter_mut().find(|g| g.name == resource.group) {
            Some(group) => group,
            None => {
                self.groups.push(Group { name: resource.group.clone(), versions: Vec::new() });
                self.groups.last_mut().expect("invariant: a group was pushed just now")
            }
        };
        if !group.versions.contains(&resource.version) {
            group.versions.push(resource.version.clone());
        }
        self.rows.insert(Triple::new(&resource.group, &resource.version, &resource.plural), row);
    }

    /// Grows by one with every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The resource at a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<R>> {
        self.rows.get(&TripleRef(group, version, plural))
    }

    /// The resource whose objects have this kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<R>> {
        self.row(*self.kinds.get(&Triple::new(group, version, kind))?)
    }

    /// A resource in its preferred version.
    pub fn named(&self, name: &GroupResource) -> Option<&Arc<R>> {
        self.row(*self.names.get(name)?)
    }

    fn row(&self, at: usize) -> Option<&Arc<R>> {
        self.rows.get_index(at).map(|(_, row)| row)
    }

    /// Every row, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<R>> {
        self.rows.values()
    }

    /// Every resource, in the same order.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.rows.values().map(|row| (**row).as_ref())
    }

    /// The groups, in the order of preference.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }
}

/// Group, version and plural or kind.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Triple(String, String, String);

impl Triple {
    fn new(group: &str, version: &str, name: &str) -> Self {
        Triple(group.to_owned(), version.to_owned(), name.to_owned())
    }
}

/// The same borrowed, so that a look-up allocates nothing. It hashes as [`Triple`] does: both derive it from three strings.
#[derive(Hash)]
struct TripleRef<'a>(&'a str, &'a str, &'a str);

impl Equivalent<Triple> for TripleRef<'_> {
    fn equivalent(&self, key: &Triple) -> bool {
        (self.0, self.1, self.2) == (&key.0, &key.1, &key.2)
    }
}
