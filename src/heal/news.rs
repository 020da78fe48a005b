//! What to tell people of treatments: a bounded number of sentences, however many agents there are.

use super::{Happened, Release, step::News};
use crate::api::Reason;
use crate::fleet::{Cause, InstanceUid, Order};

/// Most agents of which a single step tells one by one.
const MAX_TOLD: usize = 10;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should look.
    pub warning: bool,
    /// What it is.
    pub reason: Reason,
    /// The sentence for people.
    pub note: String,
}

/// What there is to tell of one step, warnings first.
pub fn tell(news: &[News]) -> Vec<Told> {
    bounded(news.iter().filter_map(sentence).collect())
}

/// What there is to tell of agents that did not come back from a restart that a person asked for.
pub fn tell_missed(missed: &[(InstanceUid, String)]) -> Vec<Told> {
    let told = |(uid, host): &(InstanceUid, String)| Told {
        warning: true,
        reason: Reason::NotRestarted,
        note: format!("{} has not come back healthy after the restart that was asked for", agent(*uid, host)),
    };
    bounded(missed.iter().map(told).collect())
}

fn agent(uid: InstanceUid, host: &str) -> String {
    if host.is_empty() { format!("agent {uid}") } else { format!("agent {uid} on {host}") }
}

fn bounded(mut all: Vec<Told>) -> Vec<Told> {
    all.sort_by_key(|told| !told.warning);
    let more = all.split_off(all.len().min(MAX_TOLD));
    if let Some(first) = more.first() {
        let note = format!("and {} more agents; problems lists the worst of them", more.len());
        all.push(Told { note, ..first.clone() });
    }
    all
}

fn sentence(News { uid, host, place, attempt, what }: &News) -> Option<Told> {
    let told = |warning, reason, note: String| {
        Some(Told { warning, reason, note: format!("{}{note}", agent(*uid, host)) })
    };
    match what {
        Happened::Ordered(Cause::Drift, _) => told(
            false,
            Reason::Correcting,
            format!(" drifts: {place}; it is offered its revision anew, {attempt}"),
        ),
        Happened::Ordered(Cause::Illness, Order::Restart) => {
            told(false, Reason::Healing, format!(" stays unhealthy: it is started anew, {attempt}"))
        }
        Happened::Ordered(Cause::Illness, Order::Offer) => told(
            false,
            Reason::Healing,
            format!(" stays unhealthy: it is offered its revision anew, {attempt}"),
        ),
        Happened::Ordered(Cause::Illness, Order::Stable) => told(
            true,
            Reason::SentBack,
            format!(" stays unhealthy: it alone is offered the stable revision, {attempt}"),
        ),
        Happened::Helped(Cause::Drift, _) => {
            told(false, Reason::Corrected, " runs its revision again".to_owned())
        }
        Happened::Helped(Cause::Illness, _) => told(false, Reason::Healed, " is healthy again".to_owned()),
        Happened::Quarantined(Cause::Drift) => {
            told(true, Reason::Quarantined, format!(" is quarantined: {place}, and no correction has lasted"))
        }
        Happened::Quarantined(Cause::Illness) => told(
            true,
            Reason::Quarantined,
            " is quarantined: it stays unhealthy, and nothing has helped".to_owned(),
        ),
        Happened::Released(why) => {
            let why = match why {
                Release::Well => "it is well",
                Release::Otherwise => "it is to run something else, or its group's rules have changed",
                Release::Retried => "a retry was asked for",
            };
            told(false, Reason::Released, format!(" is no longer quarantined: {why}"))
        }
        // The next order, or the quarantine, follows at once; and what a newer version does it tells itself.
        Happened::Failed(..)
        | Happened::Unverified(..)
        | Happened::Ordered(..)
        | Happened::Helped(..)
        | Happened::Quarantined(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::uid;

    fn news(n: u32, what: Happened) -> News {
        let place = "Modified at processors::batch::timeout".to_owned();
        News { uid: uid(n), host: format!("host-{n}"), place, attempt: "attempt 2 of 5".to_owned(), what }
    }

    #[test]
    fn each_turn_has_a_sentence_that_names_agent_place_and_attempt() {
        use {Cause::*, Happened::*};
        let all = [
            Ordered(Drift, Order::Offer),
            Ordered(Illness, Order::Restart),
            Ordered(Illness, Order::Offer),
            Ordered(Illness, Order::Stable),
            Helped(Drift, Order::Offer),
            Helped(Illness, Order::Restart),
            Failed(Drift, Order::Offer),
            Unverified(Drift, Order::Offer),
            Quarantined(Drift),
            Quarantined(Illness),
            Released(Release::Well),
            Released(Release::Otherwise),
            Released(Release::Retried),
        ];
        let sentences = all.into_iter().filter_map(|what| sentence(&news(1, what)));
        let lines: Vec<String> = sentences
            .map(|told| {
                let kind = if told.warning { "Warning" } else { "Normal" };
                format!("{kind} {}: {}", told.reason.as_str(), told.note)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
        let nameless = News { host: String::new(), ..news(1, Helped(Drift, Order::Offer)) };
        assert!(!sentence(&nameless).expect("a sentence").note.contains(" on "));
    }

    #[test]
    fn many_agents_are_told_in_few_sentences_with_the_warnings_first() {
        let mut many: Vec<News> =
            (0..30).map(|n| news(n, Happened::Helped(Cause::Drift, Order::Offer))).collect();
        many.push(news(99, Happened::Quarantined(Cause::Drift)));
        let told = tell(&many);
        assert_eq!(
            (told.len(), told[0].reason, told[1].reason),
            (11, Reason::Quarantined, Reason::Corrected)
        );
        assert_eq!(told[10].note, "and 21 more agents; problems lists the worst of them");
        assert_eq!(tell(&many[..1]).len(), 1);
    }
}
