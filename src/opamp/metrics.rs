//! What the agents' door counts. No label grows with the fleet: every value is a text of this program, or the name of a
//! token that a person has made.

use crate::fleet::{Link, TokenName};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The door's metrics; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    sockets: Gauge,
    messages: Family<MessageLabels, Counter>,
    missed: Counter,
    offers: Family<OfferLabels, Counter>,
    oversized: Counter,
    settings: Family<SettingsLabels, Counter>,
    tokens: Family<TokenLabels, Gauge>,
    /// The tokens that `tokens` has.
    told: Arc<Mutex<BTreeSet<TokenLabels>>>,
    closed: Family<ClosedLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    messages_refused: Family<RefusedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    transport: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfferLabels {
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettingsLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct TokenLabels {
    namespace: Arc<str>,
    secret: Arc<str>,
    key: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: &'static str,
}

impl Metrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let sockets = self.sockets.clone();
        registry.register(
            "opamp_websocket_active_connections",
            "WebSockets of agents that are open",
            sockets,
        );
        registry.register(
            "opamp_messages",
            "Messages of agents, by what became of them",
            self.messages.clone(),
        );
        registry.register(
            "opamp_polls_missed",
            "Polls of agents that had polled another replica since their last one here, or may have",
            self.missed.clone(),
        );
        registry.register("opamp_offers", "Configurations sent to agents", self.offers.clone());
        let oversized = self.oversized.clone();
        registry.register("opamp_offers_oversized", "Configurations too long to be sent", oversized);
        registry.register(
            "opamp_connection_settings",
            "Settings of connections for agents, by what became of them here",
            self.settings.clone(),
        );
        registry.register(
            "opamp_credential_agents",
            "Agents that are connected to this replica by a token, by where the token stands",
            self.tokens.clone(),
        );
        registry.register("opamp_websocket_closed", "WebSockets that ended, by reason", self.closed.clone());
        registry.register(
            "opamp_connections_refused",
            "Connections, or requests over plain HTTP, that were refused, by reason",
            self.refused.clone(),
        );
        registry.register(
            "opamp_messages_refused",
            "Messages, or parts of one, that were not taken because of a limit, by reason",
            self.messages_refused.clone(),
        );
    }

    /// Counts a WebSocket for as long as the result lives.
    pub(super) fn socket(&self) -> OpenSocket {
        self.sockets.inc();
        OpenSocket(self.sockets.clone())
    }

    pub(super) fn message(&self, link: Link, result: &'static str) {
        self.messages.get_or_create(&MessageLabels { transport: transport(link), result }).inc();
    }

    /// Counts a poll before which there were some, or may have been, at another replica.
    pub(super) fn missed(&self) {
        self.missed.inc();
    }

    pub(super) fn offer(&self, link: Link) {
        self.offers.get_or_create(&OfferLabels { transport: transport(link) }).inc();
    }

    pub(super) fn oversized(&self) {
        self.oversized.inc();
    }

    /// Counts settings of a connection that are sent, or too long for it.
    pub(super) fn settings(&self, sent: bool) {
        let result = if sent { "sent" } else { "oversized" };
        self.settings.get_or_create(&SettingsLabels { result }).inc();
    }

    /// Takes in how many agents use each token. One that is gone, and its last agent with it, is told of no more.
    pub(super) fn by_token(&self, counts: &BTreeMap<(Arc<str>, TokenName), usize>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *told);
        for ((namespace, TokenName { secret, key }), count) in counts {
            let (namespace, secret, key) = (namespace.clone(), secret.clone(), key.clone());
            let labels = TokenLabels { namespace, secret, key };
            self.tokens.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
            before.remove(&labels);
            told.insert(labels);
        }
        for gone in before {
            self.tokens.remove(&gone);
        }
    }

    pub(super) fn closed(&self, reason: &'static str) {
        self.closed.get_or_create(&ClosedLabels { reason }).inc();
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }

    pub(super) fn message_refused(&self, reason: &'static str) {
        self.messages_refused.get_or_create(&RefusedLabels { reason }).inc();
    }
}

/// An open WebSocket; a guard, so that one whose task panics is not counted for ever.
pub(super) struct OpenSocket(Gauge);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn transport(link: Link) -> &'static str {
    match link {
        Link::Socket(_) => "websocket",
        Link::Polling => "http",
    }
}
