//! What several entries use under equal keys, such as the connection to one service: it is opened once, and open as
//! long as something uses it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// What is in use, by its key.
#[derive(Debug)]
pub struct InUse<K, T>(Mutex<HashMap<K, Weak<T>>>);

// === impl InUse ===

impl<K: Eq + Hash, T> InUse<K, T> {
    /// What is in use under this key. Otherwise it is made.
    pub fn get(&self, key: K, make: impl FnOnce() -> T) -> Arc<T> {
        let Ok(known) = self.get_or_open(key, || Ok::<_, Infallible>(make()));
        known
    }

    /// The same for what may fail to open.
    pub fn get_or_open<E>(&self, key: K, open: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let new = Arc::new(open()?);
        all.retain(|_, known| known.strong_count() > 0);
        all.insert(key, Arc::downgrade(&new));
        Ok(new)
    }
}

impl<K, T> Default for InUse<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_while_it_is_used() {
        let all = InUse::default();
        let first = all.get("a", || 1);
        let other = all.get("b", || 2);
        assert!(Arc::ptr_eq(&first, &all.get("a", || 3)));
        assert_eq!((*first, *other), (1, 2));
        drop(first);
        assert_eq!(*all.get("a", || 4), 4, "nothing used the first one any more");
    }

    #[test]
    fn what_is_not_used_is_forgotten_and_a_failure_is_not_kept() {
        let all = InUse::default();
        drop(all.get("a", || 1));
        assert_eq!(all.get_or_open("b", || Err::<i32, _>("closed")), Err("closed"));
        let _used = all.get_or_open("b", || Ok::<_, &str>(2)).unwrap();
        assert_eq!(all.0.lock().len(), 1);
    }
}
