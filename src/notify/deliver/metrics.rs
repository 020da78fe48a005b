//! What is counted of notifications. No label has a receiver's name: the file is a Secret.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;

/// The kinds of receivers.
const KINDS: [&str; 3] = ["slack", "pagerduty", "webhook"];
/// What becomes of notifications.
const RESULTS: [&str; 6] = ["delivered", "refused", "gave_up", "overflowed", "superseded", "removed"];
/// What comes of posts.
const ATTEMPTS: [&str; 3] = ["ok", "refused", "failed"];

/// The metrics; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    notifications: Family<ResultLabels, Counter>,
    attempts: Family<ResultLabels, Counter>,
    waiting: Family<KindLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    refused: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    receiver_type: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    receiver_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl Metrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "opamp_notifications",
            "Notifications that were to be sent, by what became of them",
            self.notifications.clone(),
        );
        registry.register(
            "opamp_notification_attempts",
            "Posts to receivers of notifications, by what came of them",
            self.attempts.clone(),
        );
        registry.register(
            "opamp_notifications_waiting",
            "Notifications that wait to be sent",
            self.waiting.clone(),
        );
        registry.register(
            "opamp_notifications_file_reloads",
            "Times the notifications file was read because it was new or had changed",
            self.reloads.clone(),
        );
        registry.register(
            "opamp_notifications_file_refused",
            "1 while the notifications file as it stands cannot be used",
            self.refused.clone(),
        );
        // A rate needs the zero before the first.
        for receiver_type in KINDS {
            drop(self.waiting.get_or_create(&KindLabels { receiver_type }));
            for result in RESULTS {
                drop(self.notifications.get_or_create(&ResultLabels { receiver_type, result }));
            }
            for result in ATTEMPTS {
                drop(self.attempts.get_or_create(&ResultLabels { receiver_type, result }));
            }
        }
        for result in ["ok", "refused"] {
            drop(self.reloads.get_or_create(&ReloadLabels { result }));
        }
    }

    /// Counts notifications that are over.
    pub(super) fn over(&self, receiver_type: &'static str, result: &'static str, many: usize) {
        let many = u64::try_from(many).unwrap_or(u64::MAX);
        self.notifications.get_or_create(&ResultLabels { receiver_type, result }).inc_by(many);
    }

    /// Counts a post.
    pub(super) fn attempt(&self, receiver_type: &'static str, result: &'static str) {
        self.attempts.get_or_create(&ResultLabels { receiver_type, result }).inc();
    }

    /// Tells how many more wait than before.
    pub(super) fn waiting(&self, receiver_type: &'static str, more: i64) {
        self.waiting.get_or_create(&KindLabels { receiver_type }).inc_by(more);
    }

    /// Counts a file that was read, and tells whether it is in use.
    pub fn read(&self, usable: bool) {
        let result = if usable { "ok" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
        self.refused.set(i64::from(!usable));
    }
}
