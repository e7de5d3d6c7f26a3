//! What is in force, and may be replaced as a whole.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that many read and somebody replaces now and then. Whoever has read it keeps what it has read: no reader sees
/// half of two values.
pub struct Current<T: ?Sized>(RwLock<Arc<T>>);

impl<T: Default> Default for Current<T> {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl<T: ?Sized> Current<T> {
    /// In force from the beginning.
    #[must_use]
    pub fn new(first: Arc<T>) -> Self {
        Self(RwLock::new(first))
    }

    /// What is in force now. To be asked once a request.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another value in force, from the next reader on.
    pub fn replace(&self, next: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_read_keeps_what_it_has_read() {
        let current = Current::new(Arc::new("old"));
        let read = current.get();
        current.replace(Arc::new("new"));
        assert_eq!((*read, *current.get()), ("old", "new"));
    }
}
