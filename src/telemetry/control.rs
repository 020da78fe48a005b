//! What the operator does with the API server, and what comes of it.

use super::{Counts, Durations, Label};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// The kinds that are reconciled.
const KIND: Label = ("kind", &["CollectorGroup", "ConfigRollout"]);
/// How long a reconcile takes, in seconds: a few answers of the API server, or of one that is in trouble.
const RECONCILE_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The operator's work; clones count together.
#[derive(Clone, Debug)]
pub struct ControlMetrics {
    reconciles: Counts<2>,
    errors: Counts<2>,
    durations: Durations<1>,
    status_writes: Counts<2>,
    slice_writes: Counts<2>,
    requests: Counts<2>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It stands.
    Ok,
    /// The object has changed since it was read.
    Conflict,
    /// Another leader has a higher term.
    Deposed,
    /// The API server did not take it, or did not answer.
    Error,
}

/// What slices tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceContents {
    /// The agents of a replica.
    Agents,
    /// Single agents of a group, by the leader.
    Exceptions,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        let reasons = &[
            "lease",
            "conflict",
            "forbidden",
            "not_found",
            "invalid",
            "throttled",
            "server",
            "unreachable",
            "other",
        ];
        let answers = &["ok", "not_found", "conflict", "throttled", "refused", "failed", "unanswered"];
        Self {
            reconciles: Counts::new([KIND, ("result", &["ok", "error"])]),
            errors: Counts::new([KIND, ("reason", reasons)]),
            durations: Durations::new([KIND], || Histogram::new(RECONCILE_SECONDS)),
            status_writes: Counts::new([KIND, ("result", &["ok", "conflict", "deposed", "error"])]),
            slice_writes: Counts::new([
                ("content", &["agents", "exceptions"]),
                ("result", &["ok", "conflict", "error"]),
            ]),
            requests: Counts::new([
                ("method", &["GET", "POST", "PUT", "PATCH", "DELETE"]),
                ("result", answers),
            ]),
        }
    }
}

impl ControlMetrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.reconciles.register(registry, "opamp_reconciles", "Reconciles that ended, by kind and result");
        let help = "Reconciles that failed and are tried again, by kind and reason";
        self.errors.register(registry, "opamp_reconcile_errors", help);
        let help = "How long a reconcile took, by kind";
        self.durations.register(registry, "opamp_reconcile_duration", help);
        let help = "Writes of a status, by kind and result";
        self.status_writes.register(registry, "opamp_status_writes", help);
        let help = "Writes of AgentSlices, by what they tell of and result";
        self.slice_writes.register(registry, "opamp_slice_writes", help);
        let help = "Requests to the API server, by method and answer";
        self.requests.register(registry, "opamp_api_requests", help);
    }

    /// Counts a reconcile of this kind: how long it took, and why it failed if it did.
    pub fn reconciled(&self, kind: &'static str, took: Duration, error: Option<&'static str>) {
        self.durations.observe([kind], took.as_secs_f64());
        self.reconciles.inc([kind, if error.is_some() { "error" } else { "ok" }]);
        if let Some(reason) = error {
            self.errors.inc([kind, reason]);
        }
    }

    /// Counts a write of a status of this kind.
    pub fn status_written(&self, kind: &'static str, write: Write) {
        self.status_writes.inc([kind, write.result()]);
    }

    /// Counts a write of slices.
    pub fn slices_written(&self, contents: SliceContents, write: Write) {
        let content = match contents {
            SliceContents::Agents => "agents",
            SliceContents::Exceptions => "exceptions",
        };
        self.slice_writes.inc([content, write.result()]);
    }

    /// Counts a request to the API server, with the status of its answer if there was one. No other methods are used
    /// than those that are counted.
    pub fn requested(&self, method: &str, status: Option<u16>) {
        let method = match method {
            "GET" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => return,
        };
        let answer = match status {
            None => "unanswered",
            Some(404) => "not_found",
            Some(409) => "conflict",
            Some(429) => "throttled",
            Some(400..=499) => "refused",
            Some(500..) => "failed",
            Some(_) => "ok",
        };
        self.requests.inc([method, answer]);
    }
}

impl Write {
    fn result(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Deposed => "deposed",
            Self::Error => "error",
        }
    }
}
