//! How a configuration's components are wired together.

use std::collections::{BTreeMap, BTreeSet};

use super::components::Components;
use super::report::{Found, Report};
use super::{Reason, Role};
use crate::config::{ComponentId, PipelineId};

/// The components that one list names.
struct Named {
    ids: Vec<ComponentId>,
    /// Whether these are all: false if part of the list cannot be known.
    complete: bool,
}

/// Where connectors are used, over all pipelines.
struct Connections {
    receivers: Side,
    exporters: Side,
}

/// One side of the connectors.
struct Side {
    role: Role,
    /// Each connector with one pipeline that uses it on this side.
    used: BTreeMap<ComponentId, String>,
    /// Whether all uses on this side are known.
    complete: bool,
}

pub(super) fn check_service(components: &Components, report: &mut Report<'_>) {
    if let Found::Unknown = report.mapping(&["service"]) {
        return;
    }
    check_extensions(components, report);
    check_pipelines(components, report);
}

fn check_extensions(components: &Components, report: &mut Report<'_>) {
    let path = ["service", Role::Extension.list()];
    let named = named(&path, report);
    check_defined(&path, Role::Extension, &named, components, report);
}

fn check_pipelines(components: &Components, report: &mut Report<'_>) {
    let path = ["service", "pipelines"];
    let pipelines = match report.mapping(&path) {
        Found::Unknown => return,
        Found::Is(pipelines) if !pipelines.is_empty() => pipelines,
        Found::Nothing | Found::Is(_) => return report.add(&path, Reason::NoPipelines),
    };
    let mut connections = Connections::new();
    for pipeline in pipelines.keys() {
        if pipeline.parse::<PipelineId>().is_err() {
            report.add(&["service", "pipelines", pipeline], Reason::PipelineId);
        }
        check_pipeline(pipeline, components, &mut connections, report);
    }
    connections.check(report);
}

fn check_pipeline(
    pipeline: &str,
    components: &Components,
    connections: &mut Connections,
    report: &mut Report<'_>,
) {
    if let Found::Unknown = report.mapping(&["service", "pipelines", pipeline]) {
        return connections.add_unknown();
    }
    for role in [Role::Receiver, Role::Processor, Role::Exporter] {
        let path = ["service", "pipelines", pipeline, role.list()];
        let named = named(&path, report);
        check_defined(&path, role, &named, components, report);
        if role == Role::Processor {
            check_repeated(&path, &named, report);
        } else if named.ids.is_empty() && named.complete {
            report.add(&path, Reason::Missing { role });
        }
        connections.add(pipeline, role, &named, components);
    }
}

fn named(path: &[&str], report: &mut Report<'_>) -> Named {
    let elements = match report.list(path) {
        Found::Nothing => return Named { ids: Vec::new(), complete: true },
        Found::Unknown => return Named { ids: Vec::new(), complete: false },
        Found::Is(elements) => elements,
    };
    let mut named = Named { ids: Vec::new(), complete: true };
    for (index, element) in elements.iter().enumerate() {
        if let Some(Ok(id)) = element.as_str().map(str::parse) {
            named.ids.push(id);
            continue;
        }
        named.complete = false;
        if !element.is_expansion() {
            report.add(path, Reason::Element { position: index + 1 });
        }
    }
    named
}

fn check_defined(path: &[&str], role: Role, named: &Named, components: &Components, report: &mut Report<'_>) {
    let unique: BTreeSet<_> = named.ids.iter().collect();
    for id in unique.into_iter().filter(|id| components.lacks(role, id)) {
        report.add_element(path, id.as_str(), Reason::Undefined { role, id: id.clone() });
    }
}

fn check_repeated(path: &[&str], named: &Named, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<_> = named.ids.iter().filter(|id| !seen.insert(*id)).collect();
    for id in repeated {
        report.add_element(path, id.as_str(), Reason::Repeated { id: id.clone() });
    }
}

impl Connections {
    const fn new() -> Self {
        Self { receivers: Side::of(Role::Receiver), exporters: Side::of(Role::Exporter) }
    }

    fn add(&mut self, pipeline: &str, role: Role, named: &Named, components: &Components) {
        let side = match role {
            Role::Receiver => &mut self.receivers,
            Role::Exporter => &mut self.exporters,
            Role::Processor | Role::Extension => return,
        };
        side.complete &= named.complete;
        for id in named.ids.iter().filter(|id| components.is_connector(id)) {
            side.used.entry(id.clone()).or_insert_with(|| pipeline.to_owned());
        }
    }

    /// A pipeline that cannot be looked into may use any connector.
    const fn add_unknown(&mut self) {
        self.receivers.complete = false;
        self.exporters.complete = false;
    }

    fn check(&self, report: &mut Report<'_>) {
        self.exporters.check_against(&self.receivers, report);
        self.receivers.check_against(&self.exporters, report);
    }
}

impl Side {
    const fn of(role: Role) -> Self {
        Self { role, used: BTreeMap::new(), complete: true }
    }

    /// Reports the connectors that are used on this side and certainly not on the other.
    fn check_against(&self, other: &Self, report: &mut Report<'_>) {
        if !other.complete {
            return;
        }
        for (id, pipeline) in self.used.iter().filter(|(id, _)| !other.used.contains_key(*id)) {
            let path = ["service", "pipelines", pipeline.as_str(), self.role.list()];
            let (used, missing) = (self.role, other.role);
            report.add_element(&path, id.as_str(), Reason::OneSided { id: id.clone(), used, missing });
        }
    }
}
