//! What the agents' door counts. No label grows with the fleet: every value is a text of this program, or the name of a
//! token that a person has made.

use super::message_kind;
use crate::fleet::{Heard, Link, TokenName};
use crate::telemetry::{Counts, Label, Overflows, Told};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const TRANSPORT: Label = ("transport", &["websocket", "http"]);
const CLOSED: Label = (
    "reason",
    &[
        "closed",
        "gone",
        "slow",
        "mute",
        "idle",
        "late",
        "no_memory",
        "protocol",
        "text",
        "too_long",
        "revoked",
        "aged",
        "shutdown",
    ],
);
const REFUSED: Label = (
    "reason",
    &[
        "too_many",
        "too_many_of_namespace",
        "too_fast",
        "tls",
        "no_request",
        "slow",
        "not_http",
        "missing",
        "malformed",
        "unknown",
        "expired",
        "throttled",
        "unavailable",
    ],
);
const MESSAGES_REFUSED: Label = (
    "reason",
    &[
        "too_long",
        "late",
        "no_memory",
        "too_many_fields",
        "too_many_attributes",
        "too_many_agents",
        "too_many_agents_of_connection",
        "too_many_agents_of_credential",
    ],
);

/// How long WebSockets are open, in seconds: until the next trouble of the network, or for as long as any may be.
const OPEN_FOR: [f64; 7] = [60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];

/// The door's metrics; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    sockets: Gauge,
    open_for: Histogram,
    messages: Counts<3>,
    missed: Counter,
    offers: Counts<1>,
    oversized: Counter,
    settings: Counts<1>,
    tokens: Told<TokenLabels>,
    closed: Counts<1>,
    refused: Counts<1>,
    messages_refused: Counts<1>,
    verdicts: Counts<1>,
    ungrouped: Gauge,
    /// What of the door was found full.
    pub(super) overflows: Overflows,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct TokenLabels {
    namespace: Arc<str>,
    secret: Arc<str>,
    key: Arc<str>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sockets: Gauge::default(),
            open_for: Histogram::new(OPEN_FOR),
            messages: Counts::new([
                TRANSPORT,
                ("kind", &message_kind::ALL),
                ("result", &["ok", "bad_request", "unavailable"]),
            ]),
            missed: Counter::default(),
            offers: Counts::new([TRANSPORT]),
            oversized: Counter::default(),
            settings: Counts::new([("result", &["sent", "oversized"])]),
            tokens: Told::default(),
            closed: Counts::new([CLOSED]),
            refused: Counts::new([REFUSED]),
            messages_refused: Counts::new([MESSAGES_REFUSED]),
            verdicts: Counts::new([("verdict", &["applied", "failed", "rolled_back"])]),
            ungrouped: Gauge::default(),
            overflows: Overflows::default(),
        }
    }
}

impl Metrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "WebSockets of agents that are open";
        registry.register("opamp_websocket_active_connections", help, self.sockets.clone());
        let help = "How long WebSockets of agents were open, when they end";
        let open_for = self.open_for.clone();
        registry.register_with_unit("opamp_websocket_connection_duration", help, Unit::Seconds, open_for);
        let help = "Messages of agents, by what they carry and what became of them";
        self.messages.register(registry, "opamp_messages", help);
        let help = "Polls of agents that had polled another replica since their last one here, or may have";
        registry.register("opamp_polls_missed", help, self.missed.clone());
        self.offers.register(registry, "opamp_offers", "Configurations sent to agents");
        let help = "Configurations too long to be sent";
        registry.register("opamp_offers_oversized", help, self.oversized.clone());
        let help = "Settings of connections for agents, by what became of them here";
        self.settings.register(registry, "opamp_connection_settings", help);
        let help = "Agents that are connected to this replica by a token, by where the token stands";
        self.tokens.register(registry, "opamp_credential_agents", help);
        self.closed.register(registry, "opamp_websocket_closed", "WebSockets that ended, by reason");
        let help = "Connections, or requests over plain HTTP, that were refused, by reason";
        self.refused.register(registry, "opamp_connections_refused", help);
        let help = "Messages, or parts of one, that were not taken because of a limit, by reason";
        self.messages_refused.register(registry, "opamp_messages_refused", help);
        self.verdicts.register(registry, "opamp_verdicts", "What agents said of revisions, each news once");
        self.overflows.register(registry);
        let help = "Agents that are connected to this replica and in no group: they are offered nothing";
        registry.register("opamp_ungrouped_agents", help, self.ungrouped.clone());
    }

    /// Where others count what they found full.
    pub fn overflows(&self) -> &Overflows {
        &self.overflows
    }

    /// Counts a WebSocket for as long as the result lives.
    pub(super) fn socket(&self) -> OpenSocket {
        self.sockets.inc();
        OpenSocket { sockets: self.sockets.clone(), open_for: self.open_for.clone(), opened: Instant::now() }
    }

    pub(super) fn message(&self, link: Link, kind: &'static str, result: &'static str) {
        self.messages.inc([transport(link), kind, result]);
    }

    /// Counts what agents said of revisions.
    pub(super) fn heard(&self, heard: Heard) {
        let Heard { applied, failed, rolled_back } = heard;
        for (verdict, count) in [("applied", applied), ("failed", failed), ("rolled_back", rolled_back)] {
            if count > 0 {
                self.verdicts.add([verdict], count);
            }
        }
    }

    /// Takes in how many connected agents are in no group.
    pub(super) fn ungrouped(&self, count: usize) {
        self.ungrouped.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a poll before which there were some, or may have been, at another replica.
    pub(super) fn missed(&self) {
        self.missed.inc();
    }

    pub(super) fn offer(&self, link: Link) {
        self.offers.inc([transport(link)]);
    }

    pub(super) fn oversized(&self) {
        self.oversized.inc();
    }

    /// Counts settings of a connection that are sent, or too long for it.
    pub(super) fn settings(&self, sent: bool) {
        self.settings.inc([if sent { "sent" } else { "oversized" }]);
    }

    /// Takes in how many agents use each token. One that is gone, and its last agent with it, is told of no more.
    pub(super) fn by_token(&self, counts: &BTreeMap<(Arc<str>, TokenName), usize>) {
        self.tokens.tell(counts.iter().map(|((namespace, TokenName { secret, key }), count)| {
            let (namespace, secret, key) = (namespace.clone(), secret.clone(), key.clone());
            (TokenLabels { namespace, secret, key }, i64::try_from(*count).unwrap_or(i64::MAX))
        }));
    }

    pub(super) fn closed(&self, reason: &'static str) {
        self.closed.inc([reason]);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.inc([reason]);
    }

    pub(super) fn message_refused(&self, reason: &'static str) {
        self.messages_refused.inc([reason]);
    }
}

/// An open WebSocket; a guard, so that one whose task panics is not counted for ever.
pub(super) struct OpenSocket {
    sockets: Gauge,
    open_for: Histogram,
    opened: Instant,
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.sockets.dec();
        self.open_for.observe(self.opened.elapsed().as_secs_f64());
    }
}

fn transport(link: Link) -> &'static str {
    match link {
        Link::Socket(_) => "websocket",
        Link::Polling => "http",
    }
}
