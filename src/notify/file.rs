//! The file of `--notifications-file`: who is told what. docs/notifications.md describes it.

use super::notice::{Kind, Severity, Turn};
use super::receiver::{Pattern, Receiver, Secret, Target};
use super::signature::SigningKey;
use super::url::Url;
use crate::api::{Duration, is_label};
use reader::{Document, Field, Map};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use strum::IntoEnumIterator;

pub use reader::FileError;

mod reader;
#[cfg(test)]
mod tests;

/// Largest file, in bytes: what a Secret can hold.
const MAX_BYTES: usize = 1024 * 1024;
/// Most receivers. Each may have a queue's worth of notices in memory.
const MAX_RECEIVERS: usize = 32;
/// Most keys of a webhook: one, and those that take its place.
const MAX_KEYS: usize = 4;
/// Where PagerDuty takes events; accounts in Europe have another one.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Most posts in any minute, unless the receiver says otherwise: Slack takes one a second.
const MAX_PER_MINUTE: usize = 30;
/// The keys of receivers by which they say what they are.
const KINDS: [&str; 3] = ["slack", "pagerduty", "webhook"];

/// All receivers of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receivers(pub Vec<Receiver>);

/// Reads the file.
///
/// # Errors
/// With line and field of the first thing that is wrong with it. Nothing of the file is repeated.
pub fn parse(text: &str) -> Result<Receivers, FileError> {
    let whole = |what: &str| FileError { line: 0, field: String::new(), what: what.to_owned() };
    if text.len() > MAX_BYTES {
        return Err(whole("the file has more than 1 MiB"));
    }
    let document = Document::read(text)?;
    let map = document.root().map(&["cluster", "receivers"])?;
    let cluster = map.get("cluster").map(|field| cluster(&field)).transpose()?.unwrap_or_default();
    let list = map.need("receivers")?;
    let entries = list.list()?;
    if entries.len() > MAX_RECEIVERS {
        return Err(list.wrong(format!("there are more than {MAX_RECEIVERS} receivers")));
    }
    let mut receivers: Vec<Receiver> = Vec::new();
    for entry in entries {
        let receiver = receiver(&entry, &cluster)?;
        if receivers.iter().any(|before| before.name == receiver.name) {
            return Err(entry.wrong("another receiver has the same name"));
        }
        receivers.push(receiver);
    }
    Ok(Receivers(receivers))
}

fn receiver(entry: &Field<'_>, cluster: &str) -> Result<Receiver, FileError> {
    let known =
        ["name", "slack", "pagerduty", "webhook", "namespaces", "events", "maxPerMinute", "giveUpAfter"];
    let map = entry.map(&known)?;
    let name = map.need("name")?;
    if !is_label(name.text()?) {
        return Err(
            name.wrong("a name has 1 to 63 lower-case letters, digits and '-': logs have it, so no secret")
        );
    }
    let (target, authority) = target(&map)?;
    Ok(Receiver {
        name: name.text()?.to_owned(),
        cluster: cluster.to_owned(),
        events: events(&map, &target)?,
        target,
        authority,
        namespaces: namespaces(&map)?,
        max_per_minute: match map.get("maxPerMinute") {
            Some(field) => usize::try_from(field.number(1..=600)?).unwrap_or(MAX_PER_MINUTE),
            None => MAX_PER_MINUTE,
        },
        give_up_after: give_up_after(&map)?,
    })
}

/// What the receiver is, and the file with its authorities.
fn target(map: &Map<'_>) -> Result<(Target, Option<PathBuf>), FileError> {
    let mut found = KINDS.iter().filter_map(|kind| Some((*kind, map.get(kind)?)));
    let one = "a receiver has exactly one of slack, pagerduty and webhook";
    let (kind, field) = found.next().ok_or_else(|| map.wrong(one))?;
    if found.next().is_some() {
        return Err(map.wrong(one));
    }
    let (target, inner) = match kind {
        "slack" => {
            let inner = field.map(&["url", "caFile"])?;
            (Target::Slack { url: url(&inner.need("url")?)? }, inner)
        }
        "pagerduty" => {
            let inner = field.map(&["routingKey", "url", "severities", "caFile"])?;
            let at = match inner.get("url") {
                Some(field) => url(&field)?,
                None => Url::parse(PAGERDUTY).map_err(|what| inner.wrong(what))?,
            };
            let routing_key = routing_key(&inner.need("routingKey")?)?;
            (Target::PagerDuty { url: at, routing_key, severities: severities(&inner)? }, inner)
        }
        _ => {
            let inner = field.map(&["url", "signingKeys", "caFile"])?;
            let keys = signing_keys(&inner.need("signingKeys")?)?;
            (Target::Webhook { url: url(&inner.need("url")?)?, keys }, inner)
        }
    };
    let authority = inner.get("caFile").map(|field| match field.text()? {
        path if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(field.wrong("it must be the whole path of a PEM file, from /")),
    });
    Ok((target, authority.transpose()?))
}

fn url(field: &Field<'_>) -> Result<Url, FileError> {
    Url::parse(field.text()?).map_err(|what| field.wrong(what))
}

fn cluster(field: &Field<'_>) -> Result<String, FileError> {
    let text = field.text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=63).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err(field.wrong("a cluster's name has 1 to 63 letters, digits, '-', '_' and '.'"))
}

fn routing_key(field: &Field<'_>) -> Result<Secret, FileError> {
    let text = field.text()?;
    if text.len() == 32 && text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(Secret::new(text.to_owned()));
    }
    Err(field.wrong(
        "a routing key has 32 letters and digits: the Integration Key of an Events API v2 integration",
    ))
}

fn signing_keys(field: &Field<'_>) -> Result<Vec<SigningKey>, FileError> {
    let entries = field.list()?;
    if !(1..=MAX_KEYS).contains(&entries.len()) {
        return Err(field.wrong(format!("there must be 1 to {MAX_KEYS} keys")));
    }
    let key = |field: &Field<'_>| SigningKey::parse(field.text()?).map_err(|what| field.wrong(what));
    entries.iter().map(key).collect()
}

fn severities(map: &Map<'_>) -> Result<BTreeMap<Kind, Severity>, FileError> {
    let Some(field) = map.get("severities") else { return Ok(BTreeMap::new()) };
    let severity = |(key, value): (&str, Field<'_>)| {
        let kind = key.parse().ok().filter(|kind: &Kind| kind.turn() == Turn::Trouble);
        let kind = kind.ok_or_else(|| {
            value.wrong(format!("a key on this line is not known; known are {}", names(Turn::Trouble)))
        })?;
        let severity: Severity =
            value.text()?.parse().map_err(|_| value.wrong("it must be info, warning, error or critical"))?;
        Ok((kind, severity))
    };
    field.entries()?.into_iter().map(severity).collect()
}

/// The kinds of events of this turn, for people.
fn names(turn: Turn) -> String {
    let kinds = Kind::iter().filter(|kind| kind.turn() == turn);
    kinds.map(Kind::as_str).collect::<Vec<_>>().join(", ")
}

fn events(map: &Map<'_>, target: &Target) -> Result<BTreeSet<Kind>, FileError> {
    let incidents = matches!(target, Target::PagerDuty { .. });
    let may = |kind: &Kind| !incidents || kind.turn() == Turn::Trouble;
    let Some(field) = map.get("events") else { return Ok(Kind::iter().filter(may).collect()) };
    let entries = field.list()?;
    if entries.is_empty() {
        return Err(field.wrong("an empty list would be told nothing: leave it out for all events"));
    }
    let event = |field: &Field<'_>| {
        let all = Kind::iter().filter(may).map(Kind::as_str).collect::<Vec<_>>().join(", ");
        let ends = if incidents { "; their ends are told by themselves" } else { "" };
        let found = field.text()?.parse().ok().filter(may);
        found.ok_or_else(|| field.wrong(format!("it must be one of {all}{ends}")))
    };
    entries.iter().map(event).collect()
}

fn namespaces(map: &Map<'_>) -> Result<Vec<Pattern>, FileError> {
    let Some(field) = map.get("namespaces") else { return Ok(Vec::new()) };
    let entries = field.list()?;
    if entries.is_empty() {
        return Err(field.wrong("an empty list would be told nothing: leave it out for all namespaces"));
    }
    let pattern = |field: &Field<'_>| {
        let text = field.text()?;
        let (text, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let fits = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if text.len() > 63 || !fits || text.is_empty() && !open {
            return Err(field.wrong("it must be a namespace's name, or the beginning of some and '*'"));
        }
        Ok(Pattern { text: text.to_owned(), open })
    };
    entries.iter().map(pattern).collect()
}

fn give_up_after(map: &Map<'_>) -> Result<std::time::Duration, FileError> {
    let default = std::time::Duration::from_mins(15);
    let Some(field) = map.get("giveUpAfter") else { return Ok(default) };
    let length = field.text()?.parse().ok().map(|duration: Duration| duration.get());
    let bounds = std::time::Duration::from_secs(10)..=std::time::Duration::from_hours(24);
    length
        .filter(|length| bounds.contains(length))
        .ok_or_else(|| field.wrong("it must be a duration from 10s to 24h, for example 15m"))
}
