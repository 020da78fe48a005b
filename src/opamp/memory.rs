//! Memory for what peers are in the middle of sending, counted over all connections.
//!
//! A message is kept until all of it has come, so a thousand peers that send a long one each, and slowly, would take a
//! thousand times the longest. What is above the little that every connection may keep comes out of one store. Who finds
//! it empty is refused at once: whoever waited there would be delayed by those who fill it.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What each connection may keep without asking. Heartbeats, health and the reports of small configurations fit, so
/// they are taken in whatever others send. 20,000 connections may keep 320 MB in this way.
const FREE_BYTES: usize = 16 << 10;

/// The store of one door; clones are the same.
#[derive(Clone)]
pub struct Memory(Arc<Semaphore>);

/// There is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// What one connection has of it. Dropping it gives it back.
pub struct Share {
    memory: Memory,
    permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// A store of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// A share, with nothing in it yet.
    pub fn share(&self) -> Share {
        Share { memory: self.clone(), permit: None }
    }
}

impl Share {
    /// Makes this the share of somebody who keeps so many bytes in all. If there is not enough nothing changes.
    pub fn keep(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted == 0 {
            self.permit = None;
        } else if wanted < held {
            drop(self.permit.as_mut().and_then(|permit| permit.split(held - wanted)));
        } else if wanted > held {
            self.grow(wanted - held)?;
        }
        Ok(())
    }

    fn grow(&mut self, more: usize) -> Result<(), Exhausted> {
        let more = u32::try_from(more).map_err(|_| Exhausted)?;
        let more = self.memory.0.clone().try_acquire_many_owned(more).map_err(|_| Exhausted)?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_free_and_the_rest_is_shared_by_all() {
        let memory = Memory::new(1000);
        let (mut first, mut second, mut third) = (memory.share(), memory.share(), memory.share());
        assert_eq!(first.keep(FREE_BYTES + 600), Ok(()));
        assert_eq!(second.keep(FREE_BYTES + 500), Err(Exhausted));
        assert_eq!(second.keep(FREE_BYTES + 400), Ok(()));
        assert_eq!(third.keep(FREE_BYTES), Ok(()), "what is free is there whatever others have");
        assert_eq!(third.keep(FREE_BYTES + 1), Err(Exhausted));
        assert_eq!(first.keep(FREE_BYTES + 500), Ok(()), "some is given back");
        assert_eq!(third.keep(FREE_BYTES + 100), Ok(()));
        assert_eq!(second.keep(0), Ok(()));
        drop(first);
        assert_eq!(memory.0.available_permits(), 900);
        assert_eq!(third.keep(usize::MAX), Err(Exhausted));
        drop(third);
        assert_eq!(memory.0.available_permits(), 1000);
    }
}
