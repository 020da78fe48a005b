//! The Helm chart, with the real helm: what it renders and refuses, that the real API server takes all of it, that the
//! operator works under exactly the rights that it grants, what people may do, and what an upgrade and an uninstall leave.

#[path = "chart/accepted.rs"]
mod accepted;
#[path = "chart/copies.rs"]
mod copies;
#[path = "chart/first_hour.rs"]
mod first_hour;
#[path = "chart/helm.rs"]
mod helm;
#[path = "chart/people.rs"]
mod people;
#[path = "chart/release.rs"]
mod release;
#[path = "chart/rendered.rs"]
mod rendered;
#[path = "chart/replica.rs"]
mod replica;
#[path = "chart/rights.rs"]
mod rights;
mod support;
#[path = "chart/values.rs"]
mod values;
