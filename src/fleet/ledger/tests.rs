use super::*;

fn hash(n: u8) -> ConfigHash {
    ConfigHash::from_bytes([n; 32])
}

fn note(ledger: &mut Ledger, n: u8, verdict: Verdict) -> bool {
    ledger.note(hash(n), verdict, Timestamp::UNIX_EPOCH)
}

#[test]
fn failed_and_rolled_back_revisions_are_refused_until_the_agent_applies_them() {
    let mut ledger = Ledger::default();
    note(&mut ledger, 1, Verdict::failed("no"));
    note(&mut ledger, 2, Verdict::RolledBackByAgent);
    note(&mut ledger, 3, Verdict::Applied);
    assert_eq!([1, 2, 3, 4].map(|n| ledger.refuses(hash(n))), [true, true, false, false]);
    note(&mut ledger, 1, Verdict::Applied);
    assert!(!ledger.refuses(hash(1)));
}

#[test]
fn refusal_from_before_a_retry_is_forgiven() {
    let mut ledger = Ledger::default();
    let at = |second| Timestamp::from_second(second).expect("in range");
    ledger.note(hash(1), Verdict::RolledBackByAgent, at(10));
    assert!(ledger.refusal(hash(1), Some(at(9))).is_some());
    assert!(ledger.refusal(hash(1), Some(at(10))).is_none());
    let later_in_that_second = at(9) + jiff::SignedDuration::from_millis(999);
    ledger.note(hash(2), Verdict::RolledBackByAgent, later_in_that_second);
    assert!(ledger.refusal(hash(2), Some(at(9))).is_none(), "times are written by the second");
}

#[test]
fn repeated_verdict_is_nothing_new_and_keeps_its_time() {
    let mut ledger = Ledger::default();
    assert!(ledger.note(hash(1), Verdict::Applied, Timestamp::UNIX_EPOCH));
    assert!(!ledger.note(hash(1), Verdict::Applied, Timestamp::MAX));
    assert_eq!(ledger.iter().next().map(|given| given.at), Some(Timestamp::UNIX_EPOCH));
}

#[test]
fn full_ledger_drops_the_oldest_success_then_the_oldest_refusal() {
    let mut ledger = Ledger::default();
    note(&mut ledger, 0, Verdict::RolledBackByAgent);
    note(&mut ledger, 1, Verdict::Applied);
    let full = u8::try_from(MAX_VERDICTS).expect("small");
    for n in 2..=full {
        note(&mut ledger, n, Verdict::RolledBackByAgent);
    }
    assert_eq!(ledger.iter().count(), MAX_VERDICTS);
    assert_eq!([0, 1, 2].map(|n| ledger.get(hash(n)).is_some()), [true, false, true]);
    note(&mut ledger, full + 1, Verdict::RolledBackByAgent);
    assert_eq!([0, 1, 2].map(|n| ledger.get(hash(n)).is_some()), [false, false, true]);
    note(&mut ledger, 1, Verdict::Applied);
    assert!(!note(&mut ledger, 1, Verdict::Applied), "the newest is kept, so it is no news again");
}

#[test]
fn verdicts_that_are_told_are_refusals_and_the_success_with_what_runs_and_one_more() {
    let mut ledger = Ledger::default();
    for n in 0..7_u8 {
        let verdict = if n % 2 == 0 { Verdict::Applied } else { Verdict::RolledBackByAgent };
        note(&mut ledger, n, verdict);
    }
    for (running, with_spare, limit, expected) in [
        (None, true, 9, &[1, 3, 5, 6][..]),
        (Some(6), true, 9, &[1, 3, 4, 5, 6]),
        (Some(6), false, 9, &[1, 3, 5, 6]),
        (Some(0), true, 9, &[0, 1, 3, 5, 6]),
        (Some(0), false, 9, &[0, 1, 3, 5]),
        (Some(5), true, 9, &[1, 3, 5, 6]),
        (Some(0), true, 4, &[1, 3, 5, 6]),
        (Some(0), true, 3, &[1, 3, 5]),
        (Some(0), true, 2, &[3, 5]),
        (Some(0), true, 0, &[]),
    ] {
        let told = ledger.foremost(running.map(hash), with_spare, limit);
        let told: Vec<_> = told.map(|given| given.hash.as_bytes()[0]).collect();
        assert_eq!(told, expected, "{running:?} {with_spare} {limit}");
    }
}

#[test]
fn failure_without_words_does_not_take_away_those_that_are_known() {
    let mut ledger = Ledger::default();
    note(&mut ledger, 1, Verdict::failed("no"));
    assert!(!note(&mut ledger, 1, Verdict::failed("")));
    assert_eq!(ledger.get(hash(1)), Some(&Verdict::failed("no")));
    note(&mut ledger, 2, Verdict::Applied);
    assert!(note(&mut ledger, 2, Verdict::failed("")), "it is news all the same where there was none");
}

#[test]
fn failure_in_other_words_is_as_old_as_it_was() {
    let mut ledger = Ledger::default();
    note(&mut ledger, 1, Verdict::failed("no"));
    assert!(ledger.note(hash(1), Verdict::failed("not at all"), Timestamp::MAX));
    let given = Given { hash: hash(1), verdict: Verdict::failed("not at all"), at: Timestamp::UNIX_EPOCH };
    assert_eq!(ledger.iter().collect::<Vec<_>>(), [&given]);
}

/// What one side says of a revision, what the other says, and what they say together.
#[test]
fn refusal_on_either_side_stands_when_ledgers_are_merged() {
    let (applied, failed, left) = (Verdict::Applied, Verdict::failed("no"), Verdict::RolledBackByAgent);
    for (one, other, together) in [
        (Some(&applied), None, Some(&applied)),
        (None, Some(&applied), Some(&applied)),
        (Some(&applied), Some(&failed), Some(&failed)),
        (Some(&failed), Some(&applied), Some(&failed)),
        (Some(&failed), Some(&left), Some(&failed)),
        (None, None, None),
    ] {
        let ledger = |said: Option<&Verdict>| {
            let mut ledger = Ledger::default();
            said.map(|said| note(&mut ledger, 1, said.clone()));
            ledger
        };
        let mut merged = ledger(one);
        merged.merge(&ledger(other));
        assert_eq!(merged.get(hash(1)), together, "{one:?} with {other:?}");
    }
}

/// The refusal before a retry must not stand for the one after it.
#[test]
fn later_of_two_refusals_stands_with_the_words_of_either_when_ledgers_are_merged() {
    let of = |words: &str, second: i64| {
        let mut ledger = Ledger::default();
        let at = Timestamp::from_second(second).expect("in range");
        ledger.note(hash(1), Verdict::failed(words), at);
        ledger
    };
    for (one, other, together) in [
        (of("a", 5), of("b", 9), of("b", 9)),
        (of("a", 9), of("b", 5), of("a", 9)),
        (of("a", 5), of("", 9), of("a", 9)),
        (of("", 9), of("b", 5), of("b", 9)),
        (of("a", 5), of("b", 5), of("a", 5)),
    ] {
        let mut merged = one.clone();
        merged.merge(&other);
        assert_eq!(merged, together, "{one:?} with {other:?}");
    }
}

#[test]
fn what_others_heard_is_learnt_unless_something_else_was_heard_since() {
    let of = |verdict: &Verdict, milliseconds: i64| {
        let mut ledger = Ledger::default();
        let at = Timestamp::from_millisecond(milliseconds).expect("in range");
        ledger.note(hash(1), verdict.clone(), at);
        ledger
    };
    let (applied, failed, bare) = (Verdict::Applied, Verdict::failed("no"), Verdict::failed(""));
    for (own, told, learnt) in [
        (Ledger::default(), of(&bare, 5000), Some(of(&bare, 5000))),
        (of(&applied, 4000), of(&bare, 5000), Some(of(&bare, 5000))),
        (of(&applied, 6000), of(&bare, 5000), None),
        (of(&failed, 4000), of(&bare, 5000), Some(of(&failed, 5000))),
        (of(&failed, 5900), of(&bare, 5000), None),
        (of(&failed, 5000), of(&bare, 5900), None),
    ] {
        let mut ledger = own.clone();
        assert_eq!(ledger.learn(&told), learnt.is_some(), "{own:?} told {told:?}");
        assert_eq!(ledger, learnt.unwrap_or_else(|| own.clone()), "{own:?} told {told:?}");
    }
}

#[test]
fn merged_ledger_is_in_order_of_time_and_bounded() {
    let mut sides = [Ledger::default(), Ledger::default()];
    for n in 0..12_u8 {
        let at = Timestamp::from_second(n.into()).expect("in range");
        sides[usize::from(n % 2)].note(hash(n), Verdict::RolledBackByAgent, at);
    }
    let [mut merged, other] = sides;
    merged.merge(&other);
    let kept: Vec<ConfigHash> = merged.iter().map(|given| given.hash).collect();
    assert_eq!(kept, [4, 5, 6, 7, 8, 9, 10, 11].map(hash));
}

#[test]
fn message_of_a_failure_is_bounded_and_cleaned() {
    let Verdict::Failed(message) = Verdict::failed(&"a\n".repeat(1000)) else { unreachable!() };
    assert_eq!(message.len(), MAX_MESSAGE_BYTES);
    assert!(message.chars().all(|c| !c.is_control()));
}
