use super::super::notice::{Detail, GroupDetail, Origin, RolloutDetail, Severity};
use super::*;

const RULES: Rules =
    Rules { max_per_minute: 30, give_up_after: Duration::from_mins(15), only_the_last: false };

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).expect("in range")
}

/// A notice of the rollout or group with this number.
fn notice(number: usize, kind: Kind) -> Arc<Notice> {
    let origin = Origin {
        namespace: "ns".into(),
        name: format!("object-{number}"),
        uid: number.to_string(),
        version: "1".into(),
        time: at(0),
    };
    let detail = match kind {
        Kind::AgentsQuarantined | Kind::AgentsReleased => Detail::Group(GroupDetail::default()),
        _ => Detail::Rollout(RolloutDetail::default()),
    };
    Arc::new(Notice::new(&origin, kind, Severity::Info, "Reason", detail))
}

fn started(number: usize) -> Arc<Notice> {
    notice(number, Kind::RolloutStarted)
}

fn failed(pause: Option<u64>) -> Outcome {
    Outcome::Failed { why: "status 500".into(), pause: pause.map(Duration::from_secs) }
}

/// Posts the next one, if it may go out now; its name, and how many it says were left out.
fn post(line: &mut Line, now: Timestamp, rules: &Rules) -> Option<(String, u64)> {
    match line.next(now, rules) {
        Next::Post(notice, left_out) => Some((notice.name.clone(), left_out)),
        Next::At(_) | Next::Nothing => None,
    }
}

#[test]
fn notices_are_posted_one_after_the_other_in_their_order() {
    let mut line = Line::default();
    assert_eq!(line.next(at(0), &RULES), Next::Nothing);
    for number in 0..3 {
        assert_eq!(line.add(started(number), at(0), &RULES), []);
    }
    for number in 0..3 {
        assert_eq!(post(&mut line, at(0), &RULES), Some((format!("object-{number}"), 0)));
        assert_eq!(line.settle(&Outcome::Taken, at(0), 0.0, &RULES), Settled::Delivered);
    }
    assert_eq!((line.next(at(0), &RULES), line.length()), (Next::Nothing, 0));
}

#[test]
fn no_more_than_the_limit_go_out_in_any_minute() {
    let rules = Rules { max_per_minute: 3, ..RULES };
    let mut line = Line::default();
    (0..CAPACITY).for_each(|number| drop(line.add(started(number), at(0), &rules)));
    let mut times = Vec::new();
    let mut now = at(0);
    while times.len() < 20 {
        match line.next(now, &rules) {
            Next::Post(..) => {
                times.push(now.as_millisecond());
                // An answer takes a while, and each a different one.
                now = later(now, Duration::from_millis(700 * times.len() as u64));
                line.settle(&Outcome::Taken, now, 0.0, &rules);
            }
            Next::At(time) => {
                assert!(time > now);
                now = time;
            }
            Next::Nothing => panic!("they wait"),
        }
    }
    for window in times.windows(4) {
        assert!(window[3] - window[0] >= 60_000, "four within a minute: {window:?}");
    }
    assert_eq!(times[..3], [0, 700, 2100], "and a few may go at once");
}

#[test]
fn posts_that_fail_are_tried_again_after_longer_and_longer_pauses_until_they_are_too_old() {
    let mut line = Line::default();
    line.add(started(1), at(0), &RULES);
    line.add(started(2), at(0), &RULES);
    let mut now = at(0);
    let mut tries = Vec::new();
    loop {
        match line.next(now, &RULES) {
            Next::Post(notice, _) => {
                tries.push((notice.name.clone(), now.as_millisecond()));
                if line.settle(&failed(None), now, 1.0, &RULES) == Settled::GaveUp {
                    break;
                }
            }
            Next::At(time) => now = time,
            Next::Nothing => panic!("it is tried again"),
        }
    }
    let times: Vec<i64> = tries.iter().map(|(_, time)| *time).collect();
    assert_eq!(times[..7], [0, 1000, 3000, 7000, 15_000, 31_000, 63_000]);
    assert!(tries.iter().all(|(name, _)| name == "object-1"), "in its order");
    assert_eq!(times.last(), Some(&843_000), "one more would be later than 15 minutes");
    // The next one has its try, after the pause that the receiver's failures are worth.
    assert_eq!(line.next(now, &RULES), Next::At(at(903_000)));
    assert_eq!(post(&mut line, at(903_000), &RULES), Some(("object-2".into(), 1)));
    assert_eq!(line.settle(&Outcome::Taken, at(903_000), 0.0, &RULES), Settled::Delivered);
    line.add(started(3), at(903_000), &RULES);
    assert_eq!(post(&mut line, at(903_000), &RULES), Some(("object-3".into(), 0)), "and all is as ever");
}

#[test]
fn receiver_is_left_alone_for_as_long_as_it_asks() {
    let mut line = Line::default();
    line.add(started(1), at(0), &RULES);
    assert!(post(&mut line, at(0), &RULES).is_some());
    assert_eq!(line.settle(&failed(Some(90)), at(0), 1.0, &RULES), Settled::Again);
    line.add(started(2), at(1000), &RULES);
    assert_eq!(line.next(at(1000), &RULES), Next::At(at(90_000)), "also with something new");
    assert!(post(&mut line, at(90_000), &RULES).is_some());
    // A pause that is shorter than its own counts for nothing.
    assert_eq!(line.settle(&failed(Some(0)), at(90_000), 1.0, &RULES), Settled::Again);
    assert_eq!(line.next(at(90_000), &RULES), Next::At(at(92_000)));
    // One that goes beyond the time for trying ends that, and still holds.
    assert!(post(&mut line, at(92_000), &RULES).is_some());
    assert_eq!(line.settle(&failed(Some(3600)), at(92_000), 1.0, &RULES), Settled::GaveUp);
    assert_eq!(line.next(at(92_000), &RULES), Next::At(at(3_692_000)));
}

#[test]
fn full_line_leaves_the_oldest_out_and_the_next_post_says_how_many() {
    let mut line = Line::default();
    for number in 0..CAPACITY {
        assert_eq!(line.add(started(number), at(0), &RULES), []);
    }
    assert_eq!(
        post(&mut line, at(0), &RULES),
        Some(("object-0".into(), 0)),
        "it is being tried, so it stays"
    );
    assert_eq!(line.add(started(CAPACITY), at(0), &RULES), []);
    for more in 1..=3 {
        assert_eq!(line.add(started(CAPACITY + more), at(0), &RULES), [Dropped::Overflowed]);
    }
    assert_eq!(line.length(), CAPACITY + 1);
    assert_eq!(line.settle(&failed(None), at(0), 0.0, &RULES), Settled::Again);
    assert_eq!(post(&mut line, at(60_000), &RULES), Some(("object-0".into(), 3)));
    line.add(started(0), at(60_000), &RULES);
    line.settle(&Outcome::Taken, at(60_000), 0.0, &RULES);
    assert_eq!(
        post(&mut line, at(60_000), &RULES),
        Some(("object-5".into(), 1)),
        "what came meanwhile is told next"
    );
}

#[test]
fn what_a_receiver_refuses_is_not_tried_again_and_is_told_as_left_out() {
    let mut line = Line::default();
    line.add(started(1), at(0), &RULES);
    line.add(started(2), at(0), &RULES);
    assert!(post(&mut line, at(0), &RULES).is_some());
    assert_eq!(line.settle(&Outcome::Refused(404), at(0), 0.0, &RULES), Settled::Refused);
    assert_eq!(post(&mut line, at(0), &RULES), Some(("object-2".into(), 1)));
}

#[test]
fn newer_notice_takes_the_place_of_what_it_makes_pointless() {
    use Kind::{AgentsQuarantined, AgentsReleased, RolloutCompleted, RolloutFailed, RolloutRolledBack};
    let incidents = Rules { only_the_last: true, ..RULES };
    for (what, rules, kinds, expected) in [
        (
            "of an incident",
            incidents,
            [RolloutFailed, RolloutRolledBack, RolloutCompleted],
            &[RolloutFailed, RolloutCompleted][..],
        ),
        (
            "elsewhere",
            RULES,
            [RolloutFailed, RolloutRolledBack, RolloutCompleted],
            &[RolloutFailed, RolloutRolledBack, RolloutCompleted],
        ),
        (
            "counts",
            RULES,
            [AgentsQuarantined, AgentsQuarantined, AgentsQuarantined],
            &[AgentsQuarantined, AgentsQuarantined],
        ),
        (
            "counts and their end",
            RULES,
            [AgentsQuarantined, AgentsQuarantined, AgentsReleased],
            &[AgentsQuarantined, AgentsQuarantined, AgentsReleased],
        ),
    ] {
        let mut line = Line::default();
        line.add(notice(1, kinds[0]), at(0), &rules);
        // The first is being tried, and may have been told.
        assert!(post(&mut line, at(0), &rules).is_some());
        line.settle(&failed(None), at(0), 0.0, &rules);
        line.add(notice(2, kinds[1]), at(0), &rules);
        let dropped: usize =
            kinds[1..].iter().map(|kind| line.add(notice(1, *kind), at(0), &rules).len()).sum();
        assert_eq!(dropped, 1 + kinds.len() - expected.len() - 1, "{what}");
        let mut told = Vec::new();
        while let Next::Post(notice, left_out) = line.next(at(60_000), &rules) {
            assert_eq!(left_out, 0, "{what}: it is told");
            told.extend((notice.name == "object-1").then_some(notice.kind));
            line.settle(&Outcome::Taken, at(60_000), 0.0, &rules);
        }
        assert_eq!(told, expected, "{what}");
    }
}

/// The end of an incident has no text in which it could be said.
#[test]
fn number_left_out_waits_for_a_post_that_can_tell_it() {
    let rules = Rules { only_the_last: true, ..RULES };
    let mut line = Line::default();
    line.add(notice(1, Kind::RolloutFailed), at(0), &rules);
    assert!(post(&mut line, at(0), &rules).is_some());
    line.settle(&Outcome::Refused(400), at(0), 0.0, &rules);
    for (kind, expected) in [(Kind::RolloutCompleted, 0), (Kind::RolloutFailed, 1), (Kind::RolloutFailed, 0)]
    {
        line.add(notice(2, kind), at(0), &rules);
        assert_eq!(post(&mut line, at(0), &rules), Some(("object-2".into(), expected)), "{kind:?}");
        line.settle(&Outcome::Taken, at(0), 0.0, &rules);
    }
}
