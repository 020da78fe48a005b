//! Locks of what the leader keeps in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere leaves the maps whole: each change is one insert.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
