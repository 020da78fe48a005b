//! What a replica tells of its Leases.

use super::{Counts, Label};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const LEASE: Label = ("lease", &["leader", "replica"]);

/// A Lease that a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The one that makes it the leader.
    Leader,
    /// Its own.
    Replica,
}

/// A replica's Leases; clones tell together.
#[derive(Clone, Debug)]
pub struct LeaseMetrics {
    transitions: Counts<2>,
    standings: Arc<Mutex<[Standing; 2]>>,
}

/// Where a replica stands with a Lease.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// How often the Lease had changed hands when this replica got it; nothing while it does not hold it.
    held: Option<i64>,
    renewed: Option<Instant>,
}

impl Default for LeaseMetrics {
    fn default() -> Self {
        Self { transitions: Counts::new([LEASE, ("to", &["held", "lost"])]), standings: Arc::default() }
    }
}

impl LeaseMetrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "How often this replica got the Lease, and lost it or gave it back";
        self.transitions.register(registry, "opamp_lease_transitions", help);
        registry.register_collector(Box::new(self.clone()));
    }

    /// A Lease was got or renewed: it has changed hands so often.
    pub fn held(&self, lease: Lease, transitions: i64) {
        let standing = &mut self.lock()[lease as usize];
        standing.renewed = Some(Instant::now());
        let before = standing.held.replace(transitions);
        if before == Some(transitions) {
            return;
        }
        if before.is_some() {
            // It was somebody else's in between.
            self.transitions.inc([lease.name(), "lost"]);
        }
        self.transitions.inc([lease.name(), "held"]);
    }

    /// A Lease is not held.
    pub fn not_held(&self, lease: Lease) {
        if self.lock()[lease as usize].held.take().is_some() {
            self.transitions.inc([lease.name(), "lost"]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Standing; 2]> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asked at each scrape, because an age changes by itself.
impl Collector for LeaseMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let known = *self.lock();
        let standings = [Lease::Leader, Lease::Replica].map(|lease| (lease, known[lease as usize]));
        let help = "1 while this replica holds the Lease";
        let mut family = encoder.encode_descriptor("opamp_lease_held", help, None, MetricType::Gauge)?;
        for (lease, standing) in standings {
            let value = ConstGauge::new(i64::from(standing.held.is_some()));
            value.encode(family.encode_family(&lease.labels())?)?;
        }
        let age = |(lease, standing): (Lease, Standing)| Some((lease, standing.age(lease)?));
        let ages: Vec<_> = standings.into_iter().filter_map(age).collect();
        if ages.is_empty() {
            return Ok(());
        }
        let help = "Time since this replica last renewed the Lease";
        let (name, unit) = ("opamp_lease_renewal_age", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (lease, age) in ages {
            ConstGauge::new(age).encode(family.encode_family(&lease.labels())?)?;
        }
        Ok(())
    }
}

impl Standing {
    /// How long ago the Lease was renewed, in seconds. Of the leader's, only whoever leads tells.
    fn age(self, lease: Lease) -> Option<f64> {
        let renewed = self.renewed.filter(|_| lease == Lease::Replica || self.held.is_some());
        renewed.map(|renewed| renewed.elapsed().as_secs_f64())
    }
}

impl Lease {
    fn name(self) -> &'static str {
        LEASE.1[self as usize]
    }

    fn labels(self) -> [(&'static str, &'static str); 1] {
        [(LEASE.0, self.name())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn served(metrics: &LeaseMetrics) -> Vec<String> {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let told = text.lines().filter(|line| !line.starts_with('#') && line.contains("lease=\"leader\""));
        // How many seconds an age is, is the clock's matter.
        let told = told.map(|line| if line.contains("_age_") { "age".to_owned() } else { line.to_owned() });
        told.collect()
    }

    #[test]
    fn lease_is_told_as_held_from_the_first_time_until_it_is_lost() {
        let metrics = LeaseMetrics::default();
        let lines = |held, lost, is_held, age: &[&str]| {
            let mut lines = vec![
                format!("opamp_lease_transitions_total{{lease=\"leader\",to=\"held\"}} {held}"),
                format!("opamp_lease_transitions_total{{lease=\"leader\",to=\"lost\"}} {lost}"),
                format!("opamp_lease_held{{lease=\"leader\"}} {is_held}"),
            ];
            lines.extend(age.iter().map(|age| (*age).to_owned()));
            lines.sort();
            lines
        };
        let sorted = || {
            let mut lines = served(&metrics);
            lines.sort();
            lines
        };
        metrics.not_held(Lease::Leader);
        assert_eq!(sorted(), lines(0, 0, 0, &[]));
        metrics.held(Lease::Leader, 3);
        metrics.held(Lease::Leader, 3);
        assert_eq!(sorted(), lines(1, 0, 1, &["age"]));
        metrics.held(Lease::Leader, 5);
        assert_eq!(sorted(), lines(2, 1, 1, &["age"]), "somebody else had it");
        metrics.not_held(Lease::Leader);
        metrics.not_held(Lease::Leader);
        assert_eq!(sorted(), lines(2, 2, 0, &[]));
    }
}
