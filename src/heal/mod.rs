//! Puts single agents right: who drifts is offered its revision anew, who stays unhealthy is healed in steps, and who
//! cannot be helped is quarantined (design, section 7).
//!
//! Pure. The leader calls [`step`] with the agents as all replicas see them and the treatments as they stand, publishes
//! the treatments that come back, and replicas carry out the orders in them. All state is in the treatments, so a new
//! leader goes on where the old one stopped.
//!
//! | file | what |
//! | --- | --- |
//! | `step` | all agents of a group: how many are treated at the same time, and what came of it |
//! | `course` | one agent: begins a treatment, waits for what an order brings, gives the next, ends it |
//! | `restart` | restarts that a person asks for: whose turn it is, and who has come back |
//! | `symptom` | what is wrong with an agent right now |
//! | `rules` | attempts and pauses |
//! | `news` | what people are told of it |

mod course;
mod news;
mod restart;
mod rules;
mod step;
mod symptom;

pub use course::{Case, Happened, Release};
pub use news::{Told, tell, tell_missed};
pub use restart::{Round, Terms, begin, restart};
pub use rules::Rules;
pub use step::{News, Step, step};

#[cfg(test)]
mod tests;
