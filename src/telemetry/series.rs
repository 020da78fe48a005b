//! Families of metrics whose series are known: all there from the start, or told as a whole.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// A label, and all values that it may have.
pub type Label = (&'static str, &'static [&'static str]);

type Values<const N: usize> = [(&'static str, &'static str); N];

/// Counters by labels with few values. All are there from the start: a rate needs the zero before the first. Clones
/// count together.
#[derive(Clone, Debug)]
pub struct Counts<const N: usize> {
    labels: [Label; N],
    family: Family<Values<N>, Counter>,
}

impl<const N: usize> Counts<N> {
    /// A counter at zero for each combination of the labels' values.
    pub fn new(labels: [Label; N]) -> Self {
        let family = Family::default();
        for values in combinations(labels) {
            drop(Family::<Values<N>, Counter>::get_or_create(&family, &values));
        }
        Self { labels, family }
    }

    /// Counts one more with these values, in the order of the labels.
    pub fn inc(&self, values: [&'static str; N]) {
        self.add(values, 1);
    }

    /// Counts so many more with these values.
    pub fn add(&self, values: [&'static str; N], count: u64) {
        let named = name_values(self.labels, values);
        self.family.get_or_create(&named).inc_by(count);
    }

    /// Puts the counters into a registry, which adds `_total` to the name.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, self.family.clone());
    }
}

/// Histograms of seconds by labels with few values, all there from the start. Clones count together.
#[derive(Clone, Debug)]
pub struct Durations<const N: usize> {
    labels: [Label; N],
    family: Family<Values<N>, Histogram, fn() -> Histogram>,
}

impl<const N: usize> Durations<N> {
    /// An empty histogram, as `empty` makes it, for each combination of the labels' values.
    pub fn new(labels: [Label; N], empty: fn() -> Histogram) -> Self {
        let family = Family::new_with_constructor(empty);
        for values in combinations(labels) {
            drop(family.get_or_create(&values));
        }
        Self { labels, family }
    }

    /// Takes in one time with these values, in the order of the labels.
    pub fn observe(&self, values: [&'static str; N], seconds: f64) {
        self.family.get_or_create(&name_values(self.labels, values)).observe(seconds);
    }

    /// Puts the histograms into a registry, which adds `_seconds` to the name.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.family.clone());
    }
}

/// Gauges by labels whose values come and go, told as a whole. Clones tell together.
#[derive(Clone, Debug)]
pub struct Told<L: Clone + Debug + Hash + Eq> {
    family: Family<L, Gauge>,
    /// All series that are there.
    told: Arc<Mutex<BTreeSet<L>>>,
}

impl<L: Clone + Debug + Hash + Eq> Default for Told<L> {
    fn default() -> Self {
        Self { family: Family::default(), told: Arc::default() }
    }
}

impl<L: Clone + Debug + Hash + Ord + EncodeLabelSet + Send + Sync + 'static> Told<L> {
    /// Tells of exactly these series from now on. Only what is gone is taken away: a scrape in between finds the others.
    pub fn tell(&self, series: impl IntoIterator<Item = (L, i64)>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *told);
        for (labels, value) in series {
            self.family.get_or_create(&labels).set(value);
            before.remove(&labels);
            told.insert(labels);
        }
        for gone in before {
            self.family.remove(&gone);
        }
    }

    /// Puts the gauges into a registry.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, self.family.clone());
    }

    /// Puts gauges of seconds into a registry, which adds `_seconds` to the name.
    pub fn register_seconds(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.family.clone());
    }
}

/// All combinations of the labels' values.
fn combinations<const N: usize>(labels: [Label; N]) -> Vec<Values<N>> {
    let count: usize = labels.iter().map(|(_, values)| values.len()).product();
    let nth = |index: usize| {
        let mut rest = index;
        labels.map(|(name, values)| {
            let value = values[rest % values.len()];
            rest /= values.len();
            (name, value)
        })
    };
    (0..count).map(nth).collect()
}

fn name_values<const N: usize>(labels: [Label; N], values: [&'static str; N]) -> Values<N> {
    std::array::from_fn(|place| {
        debug_assert!(
            labels[place].1.contains(&values[place]),
            "{:?} has no {}",
            labels[place],
            values[place]
        );
        (labels[place].0, values[place])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn served(register: impl FnOnce(&mut Registry)) -> Vec<String> {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let mut lines: Vec<String> =
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn every_combination_of_values_is_there_from_the_start() {
        let counts = Counts::new([("a", &["x", "y"]), ("b", &["1", "2", "3"])]);
        counts.inc(["y", "3"]);
        let lines = served(|registry| counts.register(registry, "n", "Help"));
        let expected = ["x1", "x2", "x3", "y1", "y2", "y3"].map(|of| {
            let (a, b) = of.split_at(1);
            format!("n_total{{a=\"{a}\",b=\"{b}\"}} {}", u8::from(of == "y3"))
        });
        assert_eq!(lines, expected);
    }

    #[test]
    fn durations_are_there_before_the_first() {
        let durations = Durations::new([("a", &["x", "y"])], || Histogram::new([1.0, 2.0]));
        durations.observe(["x"], 1.5);
        let lines = served(|registry| durations.register(registry, "n", "Help"));
        let counts: Vec<_> = lines.iter().filter(|line| line.starts_with("n_seconds_count")).collect();
        assert_eq!(counts, ["n_seconds_count{a=\"x\"} 1", "n_seconds_count{a=\"y\"} 0"]);
        assert!(lines.contains(&"n_seconds_bucket{le=\"2.0\",a=\"x\"} 1".to_owned()), "{lines:?}");
    }

    #[test]
    fn series_that_are_told_of_no_more_are_gone() {
        let told: Told<[(&str, String); 1]> = Told::default();
        let series = |of: &[(&str, i64)]| {
            of.iter().map(|(name, value)| ([("a", (*name).to_owned())], *value)).collect::<Vec<_>>()
        };
        told.tell(series(&[("x", 1), ("y", 2)]));
        told.tell(series(&[("y", 3)]));
        assert_eq!(served(|registry| told.register(registry, "n", "Help")), ["n{a=\"y\"} 3"]);
        told.tell([]);
        assert!(served(|registry| told.register(registry, "n", "Help")).is_empty());
    }
}
