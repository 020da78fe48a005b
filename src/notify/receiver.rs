//! Who is told: where a receiver is, what it wants to know, and how often it may be told something.

use super::notice::{Kind, Notice, Severity, Turn};
use super::signature::SigningKey;
use super::url::Url;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// One receiver, as the file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Its name, unlike all others': logs have it.
    pub name: String,
    /// The cluster's name, in all that is sent; empty: none.
    pub cluster: String,
    /// Where it is.
    pub target: Target,
    /// The file with the authorities by which its certificate is checked; without one, the system's.
    pub authority: Option<PathBuf>,
    /// The namespaces of which it is told; empty: all.
    pub namespaces: Vec<Pattern>,
    /// What it is told.
    pub events: BTreeSet<Kind>,
    /// Most posts in any minute.
    pub max_per_minute: usize,
    /// How old something may be that is still tried again.
    pub give_up_after: Duration,
}

/// Where a receiver is, and what it understands.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A channel of Slack, by an incoming webhook.
    Slack {
        /// The webhook, which is a secret.
        url: Url,
    },
    /// A service of PagerDuty, by its Events API v2.
    PagerDuty {
        /// Where that is.
        url: Url,
        /// Which service.
        routing_key: Secret,
        /// Severities in place of those of the notices.
        severities: BTreeMap<Kind, Severity>,
    },
    /// Anything that takes signed CloudEvents.
    Webhook {
        /// Where it is.
        url: Url,
        /// By which keys it knows that the operator sent it: several while one takes another's place.
        keys: Vec<SigningKey>,
    },
}

impl Target {
    /// The kind of receiver, as metrics tell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// Where to post.
    pub fn url(&self) -> &Url {
        match self {
            Self::Slack { url } | Self::PagerDuty { url, .. } | Self::Webhook { url, .. } => url,
        }
    }
}

/// A namespace, or the beginning of several ones' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The name, or what names begin with.
    pub text: String,
    /// Whether anything may follow.
    pub open: bool,
}

impl Pattern {
    fn matches(&self, namespace: &str) -> bool {
        if self.open { namespace.starts_with(&self.text) } else { namespace == self.text }
    }
}

impl Receiver {
    /// Whether it is told this. PagerDuty is told of the end of all that it may have been told the beginning of.
    pub fn wants(&self, notice: &Notice) -> bool {
        let here = self.namespaces.is_empty() || self.namespaces.iter().any(|p| p.matches(&notice.namespace));
        let ends = self.has_incidents() && notice.kind.turn() == Turn::Relief;
        here && (ends || self.events.contains(&notice.kind))
    }

    /// Whether what it is told opens and ends incidents: then only the last of one matter counts.
    pub fn has_incidents(&self) -> bool {
        matches!(self.target, Target::PagerDuty { .. })
    }
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the receiver alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
