//! Looks for drift in what agents report as effective: what all agents of a replica share for it.

use crate::config::{ConfigHash, Digest, Ignore};
use crate::drift::{Baseline, Finding, Path, Reason, Verdict};
use crate::fleet::{Agent, Shown, Sight};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// Most pairs of a revision and a version whose baselines are kept. Agents choose their version. Beyond it there are
/// none, and a leaf that is gone is no drift by itself.
const MAX_BASELINES: usize = 256;

/// What Collectors report, by the content that they run, the places in it that do not count, and their version.
#[derive(Default)]
pub struct Baselines {
    by_content: HashMap<Of, Baseline>,
    /// How many reports found no place since that was last asked.
    overflows: u64,
}

type Of = (ConfigHash, Ignore, Option<Box<str>>);

impl Baselines {
    /// What a report shows of an agent that runs this content. The first complete one becomes its baseline.
    pub fn judge(
        &mut self,
        agent: &Agent,
        (of, ignore): (ConfigHash, Ignore),
        finding: &Result<Finding, Reason>,
        now: Timestamp,
    ) -> Sight {
        let earlier = agent.sight().filter(|sight| sight.of == of).and_then(|sight| sight.baseline);
        let Ok(finding) = finding else {
            return Sight { baseline: earlier, ..Sight::blank(of, now) };
        };
        let reported = finding.as_baseline();
        let version = agent.version().map(Into::into);
        let baseline = self.learn((of, ignore, version), finding, earlier, reported);
        let own = earlier.or(reported);
        let shown = match finding.verdict(baseline, own) {
            Verdict::InSync => Shown::InSync,
            Verdict::Drifted(class, path) => Shown::Drifted(class, shared(&path)),
            Verdict::Unknown(_) => Shown::Unknown,
        };
        Sight { of, shown, since: now, baseline: own }
    }

    /// The baseline of a content and a version, with what this report adds: one that is an agent's first, or the same
    /// as that.
    fn learn(
        &mut self,
        of: Of,
        finding: &Finding,
        earlier: Option<Digest>,
        reported: Option<Digest>,
    ) -> Option<&Baseline> {
        let vouched = reported.is_some() && earlier.is_none_or(|earlier| Some(earlier) == reported);
        if !vouched {
            return self.by_content.get(&of);
        }
        if self.by_content.len() >= MAX_BASELINES && !self.by_content.contains_key(&of) {
            self.overflows += 1;
            return None;
        }
        let baseline = self.by_content.entry(of).or_insert_with(|| Baseline::new(finding));
        baseline.absorb(finding);
        Some(baseline)
    }

    /// Forgets those of contents that nobody is assigned any more.
    pub fn retain(&mut self, is_live: impl Fn(ConfigHash) -> bool) {
        self.by_content.retain(|(content, ..), _| is_live(*content));
    }

    /// How many reports found no place since this was last asked.
    pub fn take_overflows(&mut self) -> u64 {
        std::mem::take(&mut self.overflows)
    }
}

fn shared(path: &Path) -> Arc<str> {
    path.as_str().into()
}
