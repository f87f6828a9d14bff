//! A hash map with `Arc` values and copy-on-write: a clone shares the values, and a value is copied only when it
//! changes while a clone holds it. So a snapshot of a big table costs one reference count per row.
//!
//! Rows are stored contiguously and found through a hash index: an ordered map would compare about fifteen long ids per
//! look-up, each in its own allocation. Iteration follows insertion order, except that removing a row moves the last
//! row into its place; so the same steps give the same order. The hash is keyed, because frameworks choose their task
//! ids. Nothing observable depends on the key.

use std::{borrow::Borrow, hash::Hash, iter::Map, ops::Index, sync::Arc};

use indexmap::IndexMap;

/// A map with shared values.
#[derive(Debug, Clone)]
pub struct SnapshotMap<K, V>(IndexMap<K, Arc<V>>);

impl<K, V> Default for SnapshotMap<K, V> {
    fn default() -> Self {
        Self(IndexMap::default())
    }
}

impl<K: Hash + Eq, V> SnapshotMap<K, V> {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key exists.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Looks up a value.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|value| &**value)
    }

    /// The keys, in order of iteration.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.keys()
    }

    /// The values, in order of iteration.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.0.values().map(|value| &**value)
    }

    /// Keys and values, in order of iteration.
    pub fn iter(&self) -> Entries<'_, K, V> {
        self.0.iter().map(|(key, value)| (key, &**value))
    }

    /// Inserts a value; replaces an existing one.
    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, Arc::new(value));
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Hash + Eq, V: Clone> SnapshotMap<K, V> {
    /// Mutable access (copy-on-write).
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key).map(Arc::make_mut)
    }

    /// [`SnapshotMap::get_mut`] for a row that was at this position, which is brought up to date: rows rarely move, and long keys take
    /// long to hash.
    pub fn get_mut_near(&mut self, key: &K, position: &mut usize) -> Option<&mut V> {
        if self.0.get_index(*position).is_none_or(|(known, _)| known != key) {
            *position = self.0.get_index_of(key)?;
        }
        self.0.get_index_mut(*position).map(|(_, value)| Arc::make_mut(value))
    }

    /// Mutable access to all values (copy-on-write).
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.values_mut().map(Arc::make_mut)
    }

    /// Removes a value and returns it.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.swap_remove(key).map(Arc::unwrap_or_clone)
    }

    /// Consumes the map and returns its values.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_values().map(Arc::unwrap_or_clone)
    }
}

/// The iterator of [`SnapshotMap::iter`].
pub type Entries<'a, K, V> =
    Map<indexmap::map::Iter<'a, K, Arc<V>>, fn((&'a K, &'a Arc<V>)) -> (&'a K, &'a V)>;

impl<'a, K: Hash + Eq, V> IntoIterator for &'a SnapshotMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Entries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for SnapshotMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key, Arc::new(value))).collect())
    }
}

impl<K: Hash + Eq + Borrow<Q>, V, Q: Hash + Eq + ?Sized> Index<&Q> for SnapshotMap<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        &self.0[key]
    }
}
