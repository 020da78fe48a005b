//! The API server's own count of writes, from its `/metrics`.

use kube::Client;
use std::collections::BTreeMap;
use std::fmt;

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The slices of replicas and those of exceptions.
    Slices,
    /// The status of rollouts.
    Rollouts,
    /// The status of groups.
    Groups,
    /// Everything else of this project's, and Events and Leases.
    Others,
}

/// Writes of one kind.
#[derive(Clone, Copy, Default)]
pub struct Written {
    pub writes: u64,
    pub bytes: u64,
}

/// All writes since the API server was started.
#[derive(Clone, Default)]
pub struct Counts(BTreeMap<Kind, Written>);

impl Counts {
    /// What the API server says now.
    pub async fn read(client: &Client) -> Self {
        let request = hyper::Request::get("/metrics").body(Vec::new()).expect("a request");
        let text = client.request_text(request).await.expect("metrics");
        let mut counts = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(kind) = kind(series) else { continue };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are counts")]
            let value = value.parse::<f64>().unwrap_or_default() as u64;
            let written = counts.0.entry(kind).or_default();
            if series.starts_with("apiserver_request_total{") {
                written.writes += value;
            } else if series.starts_with("apiserver_request_body_size_bytes_sum{") {
                written.bytes += value;
            }
        }
        counts
    }

    /// What came since.
    pub fn since(&self, before: &Self) -> Self {
        let since = |kind: &Kind, now: &Written| {
            let before = before.of(*kind);
            Written { writes: now.writes - before.writes, bytes: now.bytes - before.bytes }
        };
        Self(self.0.iter().map(|(kind, now)| (*kind, since(kind, now))).collect())
    }

    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> Written {
        self.0.get(&kind).copied().unwrap_or_default()
    }
}

/// What a series counts; nothing if it counts no writes of the operator's.
fn kind(series: &str) -> Option<Kind> {
    let is = |name: &str, value: &str| series.contains(&format!("{name}=\"{value}\""));
    let writes = ["PUT", "POST", "PATCH", "DELETE", "create", "update", "patch", "delete"];
    if !writes.iter().any(|verb| is("verb", verb)) {
        return None;
    }
    let status = is("subresource", "status") || series.starts_with("apiserver_request_body");
    match () {
        () if is("resource", "agentslices") => Some(Kind::Slices),
        () if is("resource", "configrollouts") && status => Some(Kind::Rollouts),
        () if is("resource", "collectorgroups") && status => Some(Kind::Groups),
        () if ["configrevisions", "events", "leases"].iter().any(|resource| is("resource", resource)) => {
            Some(Kind::Others)
        }
        () => None,
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (Kind::Slices, "slices"),
            (Kind::Rollouts, "status of rollouts"),
            (Kind::Groups, "status of groups"),
            (Kind::Others, "others"),
        ];
        for (index, (kind, name)) in kinds.into_iter().enumerate() {
            let Written { writes, bytes } = self.of(kind);
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{name} {writes} ({bytes} bytes)")?;
        }
        Ok(())
    }
}
