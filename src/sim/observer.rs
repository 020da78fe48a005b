//! What simulated agents tell of what happens to them.

use super::agent::Agent;
use super::refused::Refused;
use crate::opamp::proto::{RemoteConfigStatuses, ServerToAgent};
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Something that happened to an agent.
pub enum Event<'a> {
    /// Its WebSocket opened, or its first poll was answered.
    Connected,
    /// Its WebSocket ended, or a poll failed.
    Disconnected,
    /// A connection could not be opened, or broke off.
    Failed(&'a io::Error),
    /// The server said something, and the agent has taken it in.
    Received(&'a ServerToAgent),
    /// It may be in another state than before, when it said this of its configuration.
    Changed(RemoteConfigStatuses),
}

/// Is told what happens to agents. It must not block.
pub trait Observer: Send + Sync {
    /// Something happened to this agent.
    fn observe(&self, agent: &Agent, event: &Event<'_>);
}

/// Counts what happens to a whole fleet.
#[derive(Debug, Default)]
pub struct Tally {
    connected: AtomicI64,
    applied: AtomicI64,
    failed: AtomicI64,
    offers: AtomicU64,
    errors: AtomicU64,
    refusals: AtomicU64,
    /// Kept because all agents mostly fail for one reason, and a person wants to know it.
    last_error: Mutex<Option<String>>,
}

/// The numbers of a fleet at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Agents that are connected.
    pub connected: i64,
    /// Agents whose last word on their configuration is APPLIED.
    pub applied: i64,
    /// Agents whose last word on their configuration is FAILED.
    pub failed: i64,
    /// Configurations received so far.
    pub offers: u64,
    /// Error responses received so far.
    pub errors: u64,
    /// Refusals received so far that tell to come back later.
    pub refusals: u64,
}

impl Tally {
    /// The numbers now.
    pub fn counts(&self) -> Counts {
        Counts {
            connected: self.connected.load(Ordering::Relaxed),
            applied: self.applied.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            offers: self.offers.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            refusals: self.refusals.load(Ordering::Relaxed),
        }
    }

    /// Why a connection last failed.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of(&self, status: RemoteConfigStatuses) -> Option<&AtomicI64> {
        match status {
            RemoteConfigStatuses::Applied => Some(&self.applied),
            RemoteConfigStatuses::Failed => Some(&self.failed),
            RemoteConfigStatuses::Unset | RemoteConfigStatuses::Applying => None,
        }
    }

    fn moved(&self, from: RemoteConfigStatuses, to: RemoteConfigStatuses) {
        if from == to {
            return;
        }
        for (status, by) in [(from, -1), (to, 1)] {
            if let Some(count) = self.of(status) {
                count.fetch_add(by, Ordering::Relaxed);
            }
        }
    }
}

impl Observer for Tally {
    fn observe(&self, agent: &Agent, event: &Event<'_>) {
        match event {
            Event::Connected => drop(self.connected.fetch_add(1, Ordering::Relaxed)),
            Event::Disconnected => drop(self.connected.fetch_sub(1, Ordering::Relaxed)),
            Event::Failed(error) => {
                let told = Refused::of(error).is_some_and(|refused| refused.retry_after.is_some());
                self.refusals.fetch_add(told.into(), Ordering::Relaxed);
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            Event::Received(message) => {
                self.offers.fetch_add(message.remote_config.is_some().into(), Ordering::Relaxed);
                self.errors.fetch_add(message.error_response.is_some().into(), Ordering::Relaxed);
            }
            Event::Changed(from) => self.moved(*from, agent.config().status()),
        }
    }
}
