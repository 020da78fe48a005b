//! What is started: the pipelines with their components, and the extensions. Here more than was asked for counts.

use super::{Departure, SUPERVISORS_OWN, Walk, names, shown};
use crate::config::{Text, Value};
use std::collections::BTreeMap;

/// The section that says what is started.
const SERVICE: &str = "service";
/// Its part with the pipelines.
const PIPELINES: &str = "pipelines";
/// Its list of extensions.
const EXTENSIONS: &str = "extensions";
/// The lists of a pipeline.
const OF_A_PIPELINE: [&str; 3] = ["receivers", "processors", "exporters"];

impl<'a> Walk<'a> {
    pub(super) fn is_service(&self) -> bool {
        matches!(&self.path[..], [service] if service == SERVICE)
            || matches!(&self.path[..], [service, pipelines] if service == SERVICE && pipelines == PIPELINES)
            || matches!(&self.path[..], [service, pipelines, _] if service == SERVICE && pipelines == PIPELINES)
    }

    /// A list of components that are started: the extensions, or one of a pipeline's.
    pub(super) fn is_list_of_parts(&self) -> bool {
        match &self.path[..] {
            [service, list] => service == SERVICE && list == EXTENSIONS,
            [service, pipelines, _, list] => {
                service == SERVICE && pipelines == PIPELINES && OF_A_PIPELINE.contains(&&**list)
            }
            _ => false,
        }
    }

    /// The service, its pipelines, or one of them: what is desired, and then the lists that nobody asked for.
    pub(super) fn service(&mut self, desired: &'a Value, effective: Option<&Value>) {
        let nothing = BTreeMap::new();
        let desired = match desired {
            Value::Map(map) => map,
            Value::Null => static_nothing(),
            _ => return self.note(Departure::Different),
        };
        let reported = match effective {
            Some(Value::Map(map)) => map,
            None | Some(Value::Null) => &nothing,
            Some(_) => return self.note(Departure::Different),
        };
        for (key, value) in desired {
            self.at(key.as_str(), value, reported.get(key));
        }
        for (key, value) in reported.iter().filter(|(key, _)| !desired.contains_key(*key)) {
            self.path.push(key.to_string().into());
            if self.is_list_of_parts() {
                self.parts(&Value::Null, Some(value));
            } else if self.is_service() {
                self.pipelines_of_nobody(value);
            }
            self.path.pop();
        }
    }

    /// Pipelines that nobody asked for: one, or all of them.
    fn pipelines_of_nobody(&mut self, reported: &Value) {
        if self.path.len() > 2 {
            return self.note(Departure::Foreign);
        }
        for key in reported.as_map().into_iter().flat_map(BTreeMap::keys) {
            self.note_at(key.to_string(), Departure::Foreign);
        }
    }

    /// Components by name. An order that is not the desired one is a difference, in pipelines.
    pub(super) fn parts(&mut self, desired: &'a Value, effective: Option<&Value>) {
        let (Some(desired), Some(reported)) = (elements(desired), effective.map_or(Some(&[][..]), elements))
        else {
            return self.note(Departure::Different);
        };
        if desired.iter().any(Value::is_expansion) {
            return self.parts_of_variables(desired, reported);
        }
        let before = self.found.len();
        let (wanted, started) = (names(desired), names(reported));
        for part in desired.iter().filter(|part| !part.as_str().is_some_and(|name| started.contains(name))) {
            self.note_part(part, Departure::Missing);
        }
        let own = |part: &Value| self.path.len() == 2 && part.as_str() == Some(SUPERVISORS_OWN);
        let foreign = reported.iter().filter(|part| !part.as_str().is_some_and(|name| wanted.contains(name)));
        for part in foreign.filter(|part| !own(part)).collect::<Vec<_>>() {
            self.note_part(part, Departure::Foreign);
        }
        if self.found.len() == before && self.path.len() > 2 && desired != reported {
            self.note(Departure::Different);
        }
    }

    /// Of names that the agent expands, only the number is known.
    fn parts_of_variables(&mut self, desired: &[Value], reported: &[Value]) {
        let known = desired.iter().filter(|part| !part.is_expansion());
        let started = names(reported);
        for part in known.filter(|part| !part.as_str().is_some_and(|name| started.contains(name))) {
            self.note_part(part, Departure::Missing);
        }
        let own = usize::from(self.path.len() == 2 && started.contains(SUPERVISORS_OWN));
        self.note(if reported.len() > desired.len() + own { Departure::Foreign } else { Departure::Hidden });
    }

    fn note_part(&mut self, part: &Value, departure: Departure) {
        match shown(part) {
            Some(name) => self.note_at(name.to_owned(), departure),
            None => self.note(departure),
        }
    }
}

/// The elements of a list; none of nothing.
fn elements(value: &Value) -> Option<&[Value]> {
    match value {
        Value::List(list) => Some(list),
        Value::Null => Some(&[]),
        Value::Map(map) if map.is_empty() => Some(&[]),
        _ => None,
    }
}

/// A mapping without entries that lives as long as any configuration.
fn static_nothing<'a>() -> &'a BTreeMap<Text, Value> {
    static NOTHING: BTreeMap<Text, Value> = BTreeMap::new();
    &NOTHING
}
