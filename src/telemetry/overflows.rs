//! Counts what found a bounded place full. Each place says at its bound what happens then.

use super::Counts;
use prometheus_client::registry::Registry;

/// What found a bounded place full; clones count together.
#[derive(Clone, Debug)]
pub struct Overflows(Counts<1>);

impl Default for Overflows {
    fn default() -> Self {
        let queues = &["refusals", "addresses", "baselines", "token_reviews", "known_tokens"];
        Self(Counts::new([("queue", queues)]))
    }
}

impl Overflows {
    /// Puts the metric into a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.0.register(registry, "opamp_queue_overflows", "What found a bounded place full, by which");
    }

    /// A connection above a limit was dropped without a word.
    pub fn refusal(&self) {
        self.0.inc(["refusals"]);
    }

    /// So many refused attempts were counted together with those of other addresses.
    pub fn addresses(&self, count: u64) {
        self.many("addresses", count);
    }

    /// So many reports were not taken as baselines of drift.
    pub fn baselines(&self, count: u64) {
        self.many("baselines", count);
    }

    /// A token was not asked for, because too many were.
    pub fn token_review(&self) {
        self.0.inc(["token_reviews"]);
    }

    /// All tokens were forgotten that had been asked for.
    pub fn known_tokens(&self) {
        self.0.inc(["known_tokens"]);
    }

    /// Often there is nothing to count, and then nothing is looked up.
    fn many(&self, queue: &'static str, count: u64) {
        if count > 0 {
            self.0.add([queue], count);
        }
    }
}
