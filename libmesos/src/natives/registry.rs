//! The native sides of Java objects, by their numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The native sides of the objects of one class. Numbers are not used again, and none is zero.
pub(super) struct Registry<T>(Mutex<Numbered<T>>);

struct Numbered<T> {
    last: i64,
    by_number: BTreeMap<i64, Arc<T>>,
}

impl<T> Registry<T> {
    pub(super) const fn new() -> Self {
        Registry(Mutex::new(Numbered { last: 0, by_number: BTreeMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Numbered<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an object and returns its number.
    pub(super) fn add(&self, object: T) -> i64 {
        self.add_shared(Arc::new(object))
    }

    /// The same for an object that others have, too.
    pub(super) fn add_shared(&self, object: Arc<T>) -> i64 {
        let mut numbered = self.lock();
        numbered.last += 1;
        let number = numbered.last;
        numbered.by_number.insert(number, object);
        number
    }

    pub(super) fn get(&self, number: i64) -> Option<Arc<T>> {
        self.lock().by_number.get(&number).cloned()
    }

    pub(super) fn remove(&self, number: i64) -> Option<Arc<T>> {
        self.lock().by_number.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_used_again() {
        static WORDS: Registry<&str> = Registry::new();
        let first = WORDS.add("first");
        assert_eq!(WORDS.get(first).as_deref(), Some(&"first"));
        assert_eq!(WORDS.remove(first).as_deref(), Some(&"first"));
        assert!(WORDS.get(first).is_none() && WORDS.remove(first).is_none() && WORDS.get(0).is_none());
        assert_ne!(WORDS.add("second"), first);
    }
}
