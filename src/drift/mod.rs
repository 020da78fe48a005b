//! Drift: whether an agent runs what it is assigned, and if not, in what way and where (design, section 7).
//!
//! Pure. The replica that holds the agent asks for a [`Verdict`] when an effective configuration arrives. What the agent
//! says of its configuration, layers 1 and 2, is judged where it is heard (`fleet`), and what is done about all of it is
//! decided in `heal`.
//!
//! **Invariant: no value in a verdict.** It has a class and a path: keys, and names of components in pipelines.
//! Guarded by `nothing_of_a_drift_shows_a_value` in `tests`.
//!
//! | file | what |
//! | --- | --- |
//! | `finding` | layers 3 to 5: one report of what is in effect, compared |
//! | `baseline` | what agents with the same revision and version report, and what they leave out |
//! | `verdict` | the result |
//! | `path` | where it drifts |

mod baseline;
mod finding;
mod path;
mod verdict;

pub use crate::fleet::DriftClass as Class;
pub use baseline::Baseline;
pub use finding::{Finding, look};
pub use path::Path;
pub use verdict::{Reason, Verdict};

#[cfg(test)]
mod tests;
