//! Drift: whether an agent runs what it is assigned, and if not, in what way and where (design, section 7).
//!
//! Pure. The replica that holds the agent asks for a [`Verdict`] when an effective configuration or a status arrives;
//! what is done about it is decided elsewhere.
//!
//! **Invariant: no value in a verdict.** It has a class and a path: keys, and names of components in pipelines.
//! Guarded by `nothing_of_a_drift_shows_a_value` in `tests`.
//!
//! | file | what |
//! | --- | --- |
//! | `told` | layers 1 and 2: what the agent says of its configuration |
//! | `finding` | layers 3 to 5: one report of what is in effect, compared |
//! | `baseline` | what agents with the same revision and version report, and what they leave out |
//! | `verdict` | the result |
//! | `path` | where it drifts, and which places are not looked at |

mod baseline;
mod finding;
mod path;
mod told;
mod verdict;

pub use crate::fleet::DriftClass as Class;
pub use baseline::Baseline;
pub use finding::{Finding, look};
pub use path::{Ignore, InvalidPattern, Path};
pub use told::{Told, told};
pub use verdict::{Reason, Verdict};

#[cfg(test)]
mod tests;
