use super::*;
use crate::api::VerdictEntry;
use crate::fleet::fixtures::*;

fn slice(agents: Vec<AgentEntry>) -> AgentSliceSpec {
    AgentSliceSpec {
        format_version: SLICE_FORMAT_VERSION,
        groups: vec!["g".into()],
        revisions: vec![hash(A).to_string(), "not a hash".into(), hash(B).to_string()],
        messages: vec!["no".into()],
        agents,
        ..AgentSliceSpec::default()
    }
}

fn entry() -> AgentEntry {
    AgentEntry { uid: uid(1).to_hex(), ..AgentEntry::default() }
}

fn verdict(revision: u32, code: u32) -> VerdictEntry {
    VerdictEntry { revision, code, message: Some(0), at: 1 }
}

#[test]
fn slice_of_an_unknown_format_is_skipped() {
    for format_version in [0, SLICE_FORMAT_VERSION + 1] {
        let slice = AgentSliceSpec { format_version, ..slice(vec![entry()]) };
        assert_eq!(unpack(&slice).count(), 0, "{format_version}");
    }
    assert_eq!(unpack(&slice(vec![entry()])).count(), 1);
}

#[test]
fn entry_without_a_uid_is_skipped_and_the_others_count() {
    let nameless = |uid: &str| AgentEntry { uid: uid.into(), ..entry() };
    let agents = vec![nameless(""), nameless("xyz"), nameless(&"0".repeat(33)), entry()];
    let uids: Vec<InstanceUid> = unpack(&slice(agents)).map(|read| read.uid).collect();
    assert_eq!(uids, [uid(1)]);
}

#[test]
fn index_that_points_nowhere_is_nothing() {
    for index in [1, 3, u32::MAX] {
        let entry =
            AgentEntry { group: Some(index), overlapping: Some(index), running: Some(index), ..entry() };
        let slice = slice(vec![entry]);
        let read = unpack(&slice).next().expect("an entry");
        assert_eq!((read.group, read.overlapping, read.running), (None, None, None), "{index}");
    }
}

#[test]
fn verdict_that_cannot_be_read_is_skipped_and_the_others_count() {
    let verdicts = vec![verdict(0, 0), verdict(0, 4), verdict(1, 1), verdict(9, 1), verdict(2, 3)];
    let slice = slice(vec![AgentEntry { verdicts, ..entry() }]);
    let ledger = unpack(&slice).next().expect("an entry").ledger;
    let read: Vec<_> = ledger.iter().map(|given| (given.hash, given.verdict.clone())).collect();
    assert_eq!(read, [(hash(B), Verdict::RolledBackByAgent)]);
}

#[test]
fn failure_counts_without_its_words_and_a_verdict_without_its_time() {
    let worse = VerdictEntry { message: Some(7), at: i64::MAX, ..verdict(0, FAILED) };
    let slice = slice(vec![AgentEntry { verdicts: vec![worse], ..entry() }]);
    let ledger = unpack(&slice).next().expect("an entry").ledger;
    let given = ledger.iter().next().expect("a verdict");
    assert_eq!((&given.verdict, given.at), (&Verdict::failed(""), Timestamp::UNIX_EPOCH));
}
