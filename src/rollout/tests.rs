//! Rollouts played through in a small world: agents that behave, time that is told, no clock and no socket.

mod clocks;
mod gates;
mod losses;
mod milestones;
mod news;
mod pace;
mod phases;
mod plan;
mod properties;
mod requests;
mod rings;
mod undo;
mod unverified;
mod world;
