//! The configuration that an agent is to run beside the one that it reports as effective.
//!
//! The two are never equal byte for byte. A Collector reports its typed configuration: defaults
//! filled in, variables expanded, secrets redacted, the supervisor's own parts added, and some
//! leaves not at all (`reference/opamp.md`, 3.5 and 3.11). So each value is looked for by what it
//! means, and beyond what is desired only components count that are started.
//!
//! **Invariant: no value leaves this module.** A [`Difference`] has the keys that lead to it, and
//! the names of components in pipelines.

use super::{ComponentId, Text, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

mod parts;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

/// What the Collector prints in place of a secret.
const REDACTED: &str = "[REDACTED]";
/// The sections that hold components.
const COMPONENTS: [&str; 5] = ["receivers", "processors", "exporters", "connectors", "extensions"];
/// The extension through which a supervisor talks to its Collector. It adds it by itself.
pub(super) const SUPERVISORS_OWN: &str = "opamp";

/// How the effective configuration departs from the desired one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// A leaf is reported with another value.
    Different,
    /// A component or a pipeline is not reported, or a pipeline or the service does not use it. Collectors leave
    /// out none.
    Missing,
    /// A pipeline, a component of one, or an extension of the service that nobody asked for.
    Foreign,
    /// A leaf is not reported. That proves nothing: Collectors leave out some that are in force.
    Unreported,
    /// Only the agent can know whether the two are the same: the desired value is expanded by it, or the reported
    /// one is redacted.
    Hidden,
}

/// One departure, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The keys that lead to it. The elements of lists are numbered, those of pipelines named.
    pub path: Vec<String>,
    /// What it is.
    pub departure: Departure,
}

/// Everything in which the effective configuration departs from the desired one, in the order of the desired keys.
pub fn differences(desired: &Value, effective: &Value) -> Vec<Difference> {
    let mut walk = Walk { path: Vec::new(), found: Vec::new() };
    walk.compare(desired, Some(effective));
    walk.found
}

struct Walk<'a> {
    path: Vec<Cow<'a, str>>,
    found: Vec<Difference>,
}

impl<'a> Walk<'a> {
    fn note(&mut self, departure: Departure) {
        let path = self.path.iter().map(|step| (**step).to_owned()).collect();
        self.found.push(Difference { path, departure });
    }

    /// Notes a departure one step further.
    fn note_at(&mut self, step: impl Into<Cow<'a, str>>, departure: Departure) {
        self.path.push(step.into());
        self.note(departure);
        self.path.pop();
    }

    fn at(&mut self, step: impl Into<Cow<'a, str>>, desired: &'a Value, effective: Option<&Value>) {
        self.path.push(step.into());
        self.compare(desired, effective);
        self.path.pop();
    }

    fn compare(&mut self, desired: &'a Value, effective: Option<&Value>) {
        match (desired, effective) {
            (_, None) if self.names_a_part() => self.note(Departure::Missing),
            (desired, Some(effective)) if is_hidden(desired, effective) => self.note(Departure::Hidden),
            _ if self.is_service() => self.service(desired, effective),
            _ if self.is_list_of_parts() => self.parts(desired, effective),
            (desired, _) if is_empty(desired) => self.empty(desired, effective),
            (Value::Map(desired), effective) => self.map(desired, effective),
            (_, None) => self.note(Departure::Unreported),
            // What a Collector makes of values whose type it cannot print.
            (desired, Some(Value::Map(map))) if map.is_empty() && desired.as_list().is_none() => {
                self.note(Departure::Unreported);
            }
            (Value::List(desired), Some(effective)) => self.list(desired, effective),
            (desired, Some(effective)) if scalar::same(desired, effective) => {}
            (_, Some(_)) => self.note(Departure::Different),
        }
    }

    /// Whether a component or a pipeline stands here.
    fn names_a_part(&self) -> bool {
        match &self.path[..] {
            [section, _] => COMPONENTS.contains(&&**section),
            [service, pipelines, _] => service == "service" && pipelines == "pipelines",
            _ => false,
        }
    }

    /// A section without content: defaults are in force, whatever they are. Once it was reported with content, it
    /// can be missed.
    fn empty(&mut self, desired: &Value, effective: Option<&Value>) {
        match (desired, effective) {
            (Value::List(_), Some(Value::List(list))) if !list.is_empty() => self.note(Departure::Different),
            // A component has its name, and some have nothing else.
            _ if self.names_a_part() => {}
            (_, effective) if effective.is_none_or(is_empty) => self.note(Departure::Unreported),
            _ => {}
        }
    }

    fn map(&mut self, desired: &'a BTreeMap<Text, Value>, effective: Option<&Value>) {
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
            self.at(key.as_str(), value, reported.and_then(|map| map.get(key)));
        }
    }

    fn list(&mut self, desired: &'a [Value], effective: &Value) {
        let reported: &[Value] = match effective {
            Value::List(list) => list,
            Value::Null => &[],
            Value::Map(map) if map.is_empty() => &[],
            _ => return self.note(Departure::Different),
        };
        if desired.len() != reported.len() {
            return self.note(Departure::Different);
        }
        for (index, (value, reported)) in desired.iter().zip(reported).enumerate() {
            self.at(index.to_string(), value, Some(reported));
        }
    }
}

/// Whether nobody but the agent can say if the two are the same. The same text is the same, expanded or not; so is
/// an escaped expansion.
fn is_hidden(desired: &Value, effective: &Value) -> bool {
    let redacted = |value: &Value| value.as_str() == Some(REDACTED);
    let expands = desired.is_expansion() || effective.is_expansion() && !is_escaped(desired);
    (expands || redacted(effective)) && desired != effective
}

/// Whether an expansion is escaped in a value: then what it stands for looks like one.
fn is_escaped(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("$${"))
}

/// Nothing, in whatever way it is written.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Map(map) => map.is_empty(),
        Value::List(list) => list.is_empty(),
        _ => false,
    }
}

/// A list of `{name: …, value: …}` as a mapping, which is how people may write it, headers above all.
fn by_name(list: &[Value]) -> Option<BTreeMap<Text, Value>> {
    let pair = |element: &Value| {
        let name = element.at(&["name"])?.as_str()?.into();
        Some((name, element.at(&["value"])?.clone()))
    };
    list.iter().map(pair).collect()
}

/// What a name in a pipeline is shown as: nothing that is no name of a component.
fn shown(name: &Value) -> Option<&str> {
    name.as_str().filter(|name| name.parse::<ComponentId>().is_ok())
}

/// The names in a list.
fn names(list: &[Value]) -> BTreeSet<&str> {
    list.iter().filter_map(Value::as_str).collect()
}
