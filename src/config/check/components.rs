//! Which components a configuration defines.

use std::collections::BTreeSet;

use super::report::{Found, Report};
use super::{Reason, Role};
use crate::config::{ComponentId, InvalidId};

/// The ids that each section defines; `None` for a section that cannot be looked into.
pub(super) struct Components {
    receivers: Option<Ids>,
    processors: Option<Ids>,
    exporters: Option<Ids>,
    connectors: Option<Ids>,
    extensions: Option<Ids>,
}

type Ids = BTreeSet<ComponentId>;

impl Components {
    /// Reads the sections and reports what is wrong in each of them.
    pub(super) fn read(report: &mut Report<'_>) -> Self {
        Self {
            receivers: read_section("receivers", report),
            processors: read_section("processors", report),
            exporters: read_section("exporters", report),
            connectors: read_section("connectors", report),
            extensions: read_section("extensions", report),
        }
    }

    /// Reports ids that two components share so that a pipeline could mean either.
    pub(super) fn check_ids(&self, report: &mut Report<'_>) {
        for id in self.connectors.iter().flatten() {
            for role in [Role::Receiver, Role::Exporter] {
                if contains(self.of(role), id) {
                    let reason = Reason::Ambiguous { id: id.clone(), role };
                    report.add(&["connectors", id.as_str()], reason);
                }
            }
        }
    }

    /// Whether it is certain that nothing with this id can take this role.
    pub(super) fn lacks(&self, role: Role, id: &ComponentId) -> bool {
        let lacks = |section: Option<&Ids>| section.is_some_and(|ids| !ids.contains(id));
        match role {
            Role::Receiver | Role::Exporter => lacks(self.of(role)) && lacks(self.connectors.as_ref()),
            Role::Processor | Role::Extension => lacks(self.of(role)),
        }
    }

    /// Whether this id is a connector's.
    pub(super) fn is_connector(&self, id: &ComponentId) -> bool {
        contains(self.connectors.as_ref(), id)
    }

    const fn of(&self, role: Role) -> Option<&Ids> {
        match role {
            Role::Receiver => self.receivers.as_ref(),
            Role::Processor => self.processors.as_ref(),
            Role::Exporter => self.exporters.as_ref(),
            Role::Extension => self.extensions.as_ref(),
        }
    }
}

fn contains(section: Option<&Ids>, id: &ComponentId) -> bool {
    section.is_some_and(|ids| ids.contains(id))
}

fn read_section(section: &str, report: &mut Report<'_>) -> Option<Ids> {
    let components = match report.mapping(&[section]) {
        Found::Nothing => return Some(Ids::new()),
        Found::Unknown => return None,
        Found::Is(components) => components,
    };
    let mut ids = Ids::new();
    for key in components.keys() {
        let path = [section, key.as_str()];
        match key.parse() {
            Ok(id) => drop(ids.insert(id)),
            Err(InvalidId) => report.add(&path, Reason::ComponentId),
        }
        // Settings are a mapping or nothing; what is in them is for the component to judge.
        report.mapping(&path);
    }
    Some(ids)
}
