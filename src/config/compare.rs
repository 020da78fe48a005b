//! The configuration that an agent is to run beside the one that it reports as effective.
//!
//! The two are never equal byte for byte. A Collector reports its typed configuration: defaults
//! filled in, variables expanded, secrets redacted, the supervisor's own parts added, and some
//! leaves not at all (`reference/opamp.md`, 3.5 and 3.11). So only what is desired is looked for,
//! and each value is compared by what it means.
//!
//! **Invariant: no value leaves this module.** A [`Difference`] has the keys that lead to it only.

use super::Value;
use std::collections::BTreeMap;

mod scalar;
#[cfg(test)]
mod tests;

/// What the Collector prints in place of a secret.
const REDACTED: &str = "[REDACTED]";
/// The sections that hold components.
const COMPONENTS: [&str; 5] = ["receivers", "processors", "exporters", "connectors", "extensions"];
/// The one list to which a supervisor adds.
const EXTENSIONS: [&str; 2] = ["service", "extensions"];

/// How the effective configuration departs from the desired one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// A leaf is reported with another value.
    Different,
    /// A leaf is not reported. That proves nothing: Collectors leave out some that are in force.
    Unreported,
    /// A component or a pipeline is not reported. Collectors leave out none.
    Missing,
}

/// One departure, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The keys that lead to it; the elements of lists are numbered.
    pub path: Vec<String>,
    /// What it is.
    pub departure: Departure,
}

/// Everything in which the effective configuration departs from the desired one. What only the agent can know, a
/// redacted value or one with an expansion, is no departure; nor is what nobody asked for.
pub fn differences(desired: &Value, effective: &Value) -> Vec<Difference> {
    let mut walk = Walk { path: Vec::new(), found: Vec::new() };
    walk.compare(desired, Some(effective));
    walk.found
}

struct Walk {
    path: Vec<String>,
    found: Vec<Difference>,
}

impl Walk {
    fn note(&mut self, departure: Departure) {
        self.found.push(Difference { path: self.path.clone(), departure });
    }

    fn at(&mut self, step: &str, desired: &Value, effective: Option<&Value>) {
        self.path.push(step.to_owned());
        self.compare(desired, effective);
        self.path.pop();
    }

    fn compare(&mut self, desired: &Value, effective: Option<&Value>) {
        match (desired, effective) {
            (_, None) if self.names_a_part() => self.note(Departure::Missing),
            // A section without content: defaults are in force, whatever they are.
            (Value::Null, _) => {}
            (desired, Some(effective)) if is_unknown(desired, effective) => {}
            (Value::Map(desired), effective) => self.map(desired, effective),
            (Value::List(desired), Some(effective)) => self.list(desired, effective),
            (Value::List(desired), None) if desired.is_empty() => {}
            (_, None) => self.note(Departure::Unreported),
            (desired, Some(effective)) if scalar::same(desired, effective) => {}
            (_, Some(_)) => self.note(Departure::Different),
        }
    }

    /// Whether a component or a pipeline stands here.
    fn names_a_part(&self) -> bool {
        match &self.path[..] {
            [section, _] => COMPONENTS.contains(&section.as_str()),
            [service, pipelines, _] => service == "service" && pipelines == "pipelines",
            _ => false,
        }
    }

    fn map(&mut self, desired: &BTreeMap<String, Value>, effective: Option<&Value>) {
        let named;
        let reported = match effective {
            Some(Value::Map(map)) => Some(map),
            // A null section and an empty one are the same.
            None | Some(Value::Null) => None,
            Some(Value::List(list)) => {
                named = by_name(list);
                if named.is_none() {
                    return self.note(Departure::Different);
                }
                named.as_ref()
            }
            Some(_) => return self.note(Departure::Different),
        };
        for (key, value) in desired {
            self.at(key, value, reported.and_then(|map| map.get(key)));
        }
    }

    fn list(&mut self, desired: &[Value], effective: &Value) {
        let reported: &[Value] = match effective {
            Value::List(list) => list,
            Value::Null => &[],
            Value::Map(map) if map.is_empty() => &[],
            _ => return self.note(Departure::Different),
        };
        if self.path == EXTENSIONS {
            let known = |extension: &Value| reported.contains(extension) || extension.is_expansion();
            if !desired.iter().all(known) {
                self.note(Departure::Different);
            }
            return;
        }
        if desired.len() != reported.len() {
            return self.note(Departure::Different);
        }
        for (index, (value, reported)) in desired.iter().zip(reported).enumerate() {
            self.at(&index.to_string(), value, Some(reported));
        }
    }
}

/// Whether nobody but the agent can say if the two are the same.
fn is_unknown(desired: &Value, effective: &Value) -> bool {
    let redacted = |value: &Value| value.as_str() == Some(REDACTED);
    desired.is_expansion() || redacted(effective) || effective.is_expansion() && desired != effective
}

/// A list of `{name: …, value: …}` as a mapping, which is how people may write it, headers above all.
fn by_name(list: &[Value]) -> Option<BTreeMap<String, Value>> {
    let pair = |element: &Value| {
        let name = element.at(&["name"])?.as_str()?.to_owned();
        Some((name, element.at(&["value"])?.clone()))
    };
    list.iter().map(pair).collect()
}
