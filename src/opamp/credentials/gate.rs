//! The gate: lets peers in by their credentials, and looks again while they are in.

use super::attempts::Attempts;
use super::shares::{Place, Shares};
use super::{Credentials, Known, Refusal, Shown};
use crate::fleet::Principal;
use crate::opamp::limits::Limits;
use crate::opamp::metrics::Metrics;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The gate of one door.
pub struct Gate {
    credentials: Arc<dyn Credentials>,
    attempts: Mutex<Attempts>,
    shares: Shares,
    /// When the next socket whose credential is gone may be closed.
    next_turn: Mutex<Instant>,
    between_turns: Duration,
    metrics: Metrics,
}

impl Gate {
    /// A gate that asks these credentials.
    pub fn new(credentials: Arc<dyn Credentials>, limits: &Limits, metrics: Metrics) -> Self {
        let now = Instant::now();
        let attempts = Attempts::new(limits.max_refused_attempts, limits.refused_attempts_window, now);
        Self {
            credentials,
            attempts: Mutex::new(attempts),
            shares: Shares::new(limits.max_connections_per_namespace),
            next_turn: Mutex::new(now),
            between_turns: limits.revocation_spacing,
            metrics,
        }
    }

    /// Who a peer is. One that was refused too often is let in only if that can be told at once: whoever shares its
    /// address with an attacker is not locked out, and the attacker costs a look into a table.
    pub async fn admit(&self, shown: &Shown, peer: IpAddr) -> Result<Arc<Principal>, Refusal> {
        let exhausted = self.with_attempts(|attempts| attempts.are_exhausted(peer, Instant::now()));
        let verdict = match self.credentials.look_up(shown) {
            Known::Granted(principal) => Ok(principal),
            Known::Refused(refusal) if refusal.is_final() && exhausted => Err(Refusal::Throttled),
            Known::Refused(refusal) => Err(refusal),
            Known::Ask if exhausted => Err(Refusal::Throttled),
            Known::Ask => self.credentials.ask(shown).await,
        };
        verdict.inspect_err(|refusal| self.note(*refusal, peer))
    }

    /// Gives a connection on which this principal speaks a place in its namespace's share, in which it may be already;
    /// whether there is one.
    pub fn seat(&self, principal: &Principal, held: &mut Option<Place>) -> bool {
        if held.as_ref().is_some_and(|place| place.is_for(principal)) {
            return true;
        }
        *held = self.shares.place(principal);
        if held.is_none() {
            self.metrics.refused("too_many_of_namespace");
        }
        held.is_some()
    }

    /// Counts a refusal. It is logged once for each address and window, so that nobody can fill the log.
    fn note(&self, refusal: Refusal, peer: IpAddr) {
        self.metrics.refused(refusal.reason());
        if !refusal.is_final() {
            return;
        }
        let (refused, overflows) =
            self.with_attempts(|attempts| (attempts.note(peer, Instant::now()), attempts.take_overflows()));
        self.metrics.overflows.addresses(overflows);
        if refused == 1 {
            tracing::warn!(%peer, reason = refusal.reason(), "agent refused: {refusal}");
        }
    }

    fn with_attempts<T>(&self, work: impl FnOnce(&mut Attempts) -> T) -> T {
        work(&mut self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When a socket whose credential is gone is to be closed: one after the other, so that its agents do not all
    /// return in the same moment.
    fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + self.between_turns;
        turn
    }
}

/// What a peer was let in with, for as long as it stays.
pub struct Pass {
    gate: Arc<Gate>,
    shown: Shown,
    principal: Arc<Principal>,
    _place: Option<Place>,
}

impl Pass {
    /// The pass of a peer that the gate has admitted and given a place.
    pub fn new(gate: Arc<Gate>, shown: Shown, principal: Arc<Principal>, place: Option<Place>) -> Self {
        Self { gate, shown, principal, _place: place }
    }

    /// Who the peer is.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Whether the peer would be let in again as the same, as far as can be told at once.
    pub fn seems_valid(&self) -> bool {
        match self.gate.credentials.look_up(&self.shown) {
            Known::Granted(principal) => principal == self.principal,
            Known::Refused(refusal) => !refusal.is_final(),
            Known::Ask => true,
        }
    }

    /// The same, and asks whoever has to be asked. Who cannot be asked takes nobody's pass away.
    pub async fn is_valid(&self) -> bool {
        match self.gate.credentials.look_up(&self.shown) {
            Known::Ask => match self.gate.credentials.ask(&self.shown).await {
                Ok(principal) => principal == self.principal,
                Err(refusal) => !refusal.is_final(),
            },
            _ => self.seems_valid(),
        }
    }

    /// When the peer is to be closed whose pass is no longer valid.
    pub fn turn(&self) -> Instant {
        self.gate.turn(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Attributes;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::watch;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Says what it is told to say.
    struct Told {
        known: Mutex<Known>,
        asked: AtomicUsize,
        answer: Mutex<Result<Arc<Principal>, Refusal>>,
    }

    impl Credentials for Told {
        fn look_up(&self, _: &Shown) -> Known {
            self.known.lock().expect("held by nobody").clone()
        }

        fn ask<'a>(&'a self, _: &'a Shown) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer.lock().expect("held by nobody").clone();
            Box::pin(async { answer })
        }

        fn changes(&self) -> watch::Receiver<u64> {
            watch::Sender::new(0).subscribe()
        }
    }

    fn principal(identity: &str) -> Arc<Principal> {
        Principal::new("ns", identity, Attributes::default()).into()
    }

    fn gate(known: Known, answer: Result<Arc<Principal>, Refusal>) -> (Arc<Told>, Arc<Gate>) {
        let told = Arc::new(Told {
            known: Mutex::new(known),
            asked: AtomicUsize::new(0),
            answer: Mutex::new(answer),
        });
        let limits = Limits { max_refused_attempts: 2, ..Limits::default() };
        (told.clone(), Gate::new(told, &limits, Metrics::default()).into())
    }

    fn admit(gate: &Gate) -> Result<Arc<Principal>, Refusal> {
        gate.admit(&Shown::default(), PEER).now_or_never().expect("nothing to wait for")
    }

    #[tokio::test]
    async fn address_that_was_refused_too_often_is_not_asked_for_but_let_in_if_it_is_known() {
        let (told, gate) = gate(Known::Ask, Err(Refusal::Unknown));
        let refused: Vec<_> = (0..4).map(|_| admit(&gate).expect_err("nobody")).collect();
        assert_eq!(refused, [Refusal::Unknown, Refusal::Unknown, Refusal::Throttled, Refusal::Throttled]);
        assert_eq!(told.asked.load(Ordering::Relaxed), 2);
        *told.known.lock().expect("held by nobody") = Known::Granted(principal("a"));
        assert_eq!(admit(&gate), Ok(principal("a")));
    }

    #[tokio::test]
    async fn what_cannot_be_checked_counts_against_nobody() {
        let (told, gate) = gate(Known::Ask, Err(Refusal::Unavailable));
        assert!((0..9).all(|_| admit(&gate) == Err(Refusal::Unavailable)));
        assert_eq!(told.asked.load(Ordering::Relaxed), 9);
    }

    #[tokio::test]
    async fn pass_is_valid_while_the_peer_would_be_let_in_as_the_same() {
        let valid = |known, answer| {
            let (_, gate) = gate(known, answer);
            let pass = Pass::new(gate, Shown::default(), principal("a"), None);
            (pass.seems_valid(), pass.is_valid().now_or_never().expect("nothing to wait for"))
        };
        let nobody = || Err(Refusal::Unknown);
        for (known, answer, expected) in [
            (Known::Granted(principal("a")), nobody(), (true, true)),
            (Known::Granted(principal("b")), nobody(), (false, false)),
            (Known::Refused(Refusal::Unknown), nobody(), (false, false)),
            (Known::Refused(Refusal::Unavailable), nobody(), (true, true)),
            (Known::Ask, Ok(principal("a")), (true, true)),
            (Known::Ask, Ok(principal("b")), (true, false)),
            (Known::Ask, nobody(), (true, false)),
            (Known::Ask, Err(Refusal::Unavailable), (true, true)),
        ] {
            let shown = format!("{known:?} {answer:?}");
            assert_eq!(valid(known, answer), expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn sockets_are_closed_one_after_the_other() {
        let (_, gate) = gate(Known::Ask, Err(Refusal::Unknown));
        let now = Instant::now();
        let spacing = Limits::default().revocation_spacing;
        let turns: Vec<Duration> = (0..3).map(|_| gate.turn(now) - now).collect();
        assert_eq!(turns, [Duration::ZERO, spacing, spacing * 2]);
        let later = now + Duration::from_hours(1);
        assert_eq!(gate.turn(later), later, "nobody waits for turns long past");
    }
}
