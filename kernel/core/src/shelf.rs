//! A table that is looked up by id and can be photographed: a clone shares the values, and a value is copied only when it
//! changes while a clone still has it. So a reader gets the whole of a big table for the price of counting its rows.
//!
//! Rows lie side by side, and an index of hashes leads to them: an ordered map would compare some fifteen long ids for each
//! look-up, each in memory of its own. The order of rows is that of arrival, but for the last one, which takes the place of
//! one that is removed: the same steps give the same order. The hashes are keyed, for it is frameworks that name their tasks;
//! of the key nothing can be seen outside.

use std::{borrow::Borrow, hash::Hash, iter::Map, ops::Index, sync::Arc};

use indexmap::IndexMap;

/// A table with shared values.
#[derive(Debug, Clone)]
pub struct Shelf<K, V>(IndexMap<K, Arc<V>>);

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self(IndexMap::default())
    }
}

impl<K: Hash + Eq, V> Shelf<K, V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this key.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|value| &**value)
    }

    /// All keys.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.keys()
    }

    /// All values.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.0.values().map(|value| &**value)
    }

    /// All entries.
    pub fn iter(&self) -> Entries<'_, K, V> {
        self.0.iter().map(|(key, value)| (key, &**value))
    }

    /// Puts a value in the place of any of this key.
    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, Arc::new(value));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Hash + Eq, V: Clone> Shelf<K, V> {
    /// The value of a key, to be changed.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key).map(Arc::make_mut)
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.values_mut().map(Arc::make_mut)
    }

    /// Takes the value of a key out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.swap_remove(key).map(Arc::unwrap_or_clone)
    }

    /// All values, taken out.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_values().map(Arc::unwrap_or_clone)
    }
}

/// See [`Shelf::iter`].
pub type Entries<'a, K, V> =
    Map<indexmap::map::Iter<'a, K, Arc<V>>, fn((&'a K, &'a Arc<V>)) -> (&'a K, &'a V)>;

impl<'a, K: Hash + Eq, V> IntoIterator for &'a Shelf<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Entries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for Shelf<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key, Arc::new(value))).collect())
    }
}

impl<K: Hash + Eq + Borrow<Q>, V, Q: Hash + Eq + ?Sized> Index<&Q> for Shelf<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        &self.0[key]
    }
}
