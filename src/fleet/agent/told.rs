//! Whether the agent is told where to send its own telemetry.

use super::Agent;
use crate::config::ConfigHash;
use crate::fleet::{Capabilities, GroupView, SettingsReport, TelemetryView};

impl Agent {
    /// What it is to be told now, if anything: once over each connection, because it may have lost it, and what it has
    /// changes nothing for it.
    pub fn due_telemetry<'a>(&self, group: &'a GroupView) -> Option<&'a TelemetryView> {
        let telemetry = group.telemetry.as_deref()?;
        let ready = self.connected() && self.complete && group.may_offer() && self.reports_own_telemetry();
        let told = self.watch.as_ref().and_then(|watch| watch.telemetry);
        (ready && told != Some(telemetry.hash) && telemetry.reaches(self.uid)).then_some(telemetry)
    }

    /// Whether it sends telemetry of its own where it is told.
    pub fn reports_own_telemetry(&self) -> bool {
        self.capabilities.0 & Capabilities::REPORTS_OWN_TELEMETRY.0 != 0
    }

    /// Notes that it is told this now. That may start it anew.
    pub fn note_told(&mut self, hash: ConfigHash) {
        self.watch.get_or_insert_default().telemetry = Some(hash);
        self.steady.is_disturbed();
    }

    /// It says what became of settings: it has those that stand for this, or has refused them, and is told them no more.
    pub fn note_telemetry(&mut self, wire: ConfigHash, hash: ConfigHash, report: SettingsReport) {
        if report.hash == Some(wire) {
            self.watch.get_or_insert_default().telemetry = Some(hash);
        }
    }
}
