//! What would certainly fail on every Collector, found before anything is sent.
//!
//! Each rule is one that the Collector or its supervisor has (`service/pipelines` and
//! `service/internal/graph` of 0.149, `Config.Validate` of `otelcol` at 0618a4f). What only a certain
//! Collector can know is left to it: which component types it was built with, which keys they take, what a
//! `${…}` expands to. A configuration without pipelines counts as wrong although a supervisor
//! accepts it, because it would stop all telemetry and be reported as applied and healthy.
//!
//! Error texts hold keys, ids, kinds and positions, never a leaf value.

use std::fmt;

use super::{ConfigFile, Merged, ParsedFile, Value, merge, parse_files};

mod components;
mod pipelines;
mod problem;
mod report;
mod supervisor;
#[cfg(test)]
mod tests;

use components::Components;
pub use problem::{Problem, Reason, Role};
use report::Report;

/// The most problems that one check lists; more are only counted. A status must stay small, and
/// who mends ten problems runs the check again.
pub const MAX_PROBLEMS: usize = 10;

/// Why a configuration must not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckError {
    /// The first problems, at most [`MAX_PROBLEMS`]; never empty.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
}

/// Checks the files of one configuration of `format: Collector`, whatever their order.
///
/// # Errors
///
/// If the files cannot be read, that alone is reported, for each of them; else everything that is
/// wrong with what they say together.
pub fn check(files: &[ConfigFile]) -> Result<(), CheckError> {
    let parsed =
        parse_files(files).map_err(|errors| CheckError::of(errors.into_iter().map(Problem::from)))?;
    CheckError::of(parsed.iter().filter_map(without_sections)).unless_none()?;
    let merged = merge(parsed);
    let mut error = check_merged(&merged);
    let lost = merged.files().iter().flat_map(|file| supervisor::losses(file, &merged));
    lost.for_each(|problem| error.add_with(|| problem));
    error.unless_none()
}

fn check_merged(merged: &Merged) -> CheckError {
    let mut report = Report::on(merged);
    let components = Components::read(&mut report);
    components.check_ids(&mut report);
    pipelines::check_service(&components, &mut report);
    report.into_error()
}

/// A file that holds something else than sections. Nothing at all is allowed: agents skip it.
fn without_sections(file: &ParsedFile) -> Option<Problem> {
    match &file.value {
        Value::Map(_) | Value::Null => None,
        other => Some(Problem {
            file: Some(file.name.clone()),
            path: String::new(),
            reason: Reason::NoSections { found: other.kind() },
        }),
    }
}

impl CheckError {
    const fn none() -> Self {
        Self { problems: Vec::new(), omitted: 0 }
    }

    fn of(problems: impl IntoIterator<Item = Problem>) -> Self {
        let mut error = Self::none();
        problems.into_iter().for_each(|problem| error.add_with(|| problem));
        error
    }

    /// Adds a problem, which is made only if there is room for it: finding its file takes time.
    fn add_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem());
        } else {
            self.omitted += 1;
        }
    }

    fn unless_none(self) -> Result<(), Self> {
        if self.problems.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return write!(formatter, "{only}");
        }
        for (index, problem) in self.problems.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}({}) {problem}", index + 1)?;
        }
        if self.omitted > 0 {
            write!(formatter, " and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for CheckError {}
