use super::*;
use crate::api::{
    CHANGED_BY_ANNOTATION, ConfigRolloutSpec, ConfigRolloutStatus, ConfigSpec, KeyRef, Strategy,
};
use crate::config::ConfigFile;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};

fn hash(n: u8) -> ConfigHash {
    ConfigHash::from_bytes([n; 32])
}

fn known(names: &[(&str, &str, i64, u8)]) -> BTreeMap<String, Known> {
    let known = |(name, rollout, number, n): &(&str, &str, i64, u8)| {
        (
            (*name).to_owned(),
            Known {
                rollout: (*rollout).to_owned(),
                number: *number,
                hash: hash(*n),
                state: RevisionState::Candidate,
            },
        )
    };
    names.iter().map(known).collect()
}

fn rollout() -> ConfigRollout {
    let config = ConfigSpec { format: crate::api::ConfigFormat::Opaque, files: Vec::new() };
    let spec = ConfigRolloutSpec {
        group_name: "g".into(),
        config,
        strategy: Strategy::default(),
        paused: false,
        revision_history_limit: 10,
    };
    let mut rollout = ConfigRollout::new("r", spec);
    rollout.metadata.generation = Some(3);
    rollout.metadata.uid = Some("uid-of-r".into());
    rollout
}

fn file(name: &str, source: FileSource, body: &str) -> ResolvedFile {
    let reference = KeyRef { name: format!("from-{name}"), key: "k".into() };
    ResolvedFile {
        file: ConfigFile::new(name, "text/yaml", body.as_bytes()),
        source,
        reference: (source != FileSource::Inline).then_some(reference),
    }
}

fn files() -> Vec<ResolvedFile> {
    vec![
        file("a", FileSource::Inline, "inline body"),
        file("b", FileSource::Secret, "swordfish"),
        file("c", FileSource::ConfigMap, "map body"),
    ]
}

fn made(files: &[ResolvedFile]) -> ConfigRevision {
    new_revision(&rollout(), 7, hash(1), files, Some("alice".into()), Timestamp::UNIX_EPOCH)
}

#[test]
fn same_content_is_the_same_revision_and_other_content_gets_the_next_number() {
    let known = known(&[("r-1", "r", 1, 1), ("r-4", "r", 4, 4), ("other-9", "other", 9, 2)]);
    assert_eq!(plan(&known, "r", hash(1)), Plan::Reuse("r-1".into()));
    assert_eq!(plan(&known, "r", hash(2)), Plan::Create(5), "another rollout's revision is its own");
    assert_eq!(plan(&known, "new", hash(1)), Plan::Create(1));
}

#[test]
fn secret_bodies_stand_in_the_revisions_secret_only_under_the_files_index() {
    let mut revision = made(&files());
    revision.metadata.uid = Some("uid-of-r-7".into());
    let shown = serde_json::to_string(&revision).expect("JSON");
    assert!(!shown.contains("swordfish"), "{shown}");
    assert!(shown.contains("inline body") && shown.contains("map body"), "{shown}");
    let secret = files_secret(&revision, &files()).expect("a secret");
    let data = secret.data.expect("data");
    assert_eq!(data.keys().collect::<Vec<_>>(), ["1"]);
    assert_eq!(data["1"].0, b"swordfish");
    assert_eq!(secret.immutable, Some(true));
    assert_eq!(secret.metadata.name.as_deref(), Some("r-7-files"));
    assert_eq!(secret.metadata.owner_references.expect("an owner")[0].kind, "ConfigRevision");
    assert!(files_secret(&revision, &files()[..1]).is_none(), "nothing to keep");
}

#[test]
fn revision_is_named_labelled_and_owned_after_its_rollout() {
    let revision = made(&files());
    assert_eq!(revision.name_any(), "r-7");
    assert_eq!(revision.labels()[ROLLOUT_LABEL], "r");
    let owner = &revision.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
        ("ConfigRollout", "r", "uid-of-r")
    );
    assert_eq!(revision.spec.files[1].size, 9);
}

#[test]
fn author_is_the_referenced_object_when_the_spec_is_the_same() {
    let mut rollout = rollout();
    rollout.status = Some(ConfigRolloutStatus { observed_generation: Some(3), ..Default::default() });
    let before = made(&files());
    let with = |index: usize, body: &str| {
        let mut files = files();
        files[index] = file(&files[index].file.name.clone(), files[index].source, body);
        files
    };
    rollout.annotations_mut().insert(CHANGED_BY_ANNOTATION.into(), "alice".into());
    rollout.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some("kubectl".into()),
        time: Some(Time(Timestamp::UNIX_EPOCH)),
        fields_v1: Some(FieldsV1(json!({"f:spec": {}}))),
        ..Default::default()
    }]);
    let author = |rollout: &ConfigRollout, files: &[ResolvedFile], since| {
        author(rollout, Some(&before), files, since).expect("an author")
    };
    let stamped = Some(Timestamp::UNIX_EPOCH);
    assert_eq!(author(&rollout, &with(2, "new"), stamped), "configmap/from-c");
    assert_eq!(author(&rollout, &with(1, "longer secret"), stamped), "secret/from-b");
    assert_eq!(author(&rollout, &with(1, "jellyfish"), stamped), "secret/from-b", "as long");
    rollout.metadata.generation = Some(4);
    assert_eq!(author(&rollout, &with(2, "new"), stamped), "alice", "the spec changed as well");
    assert_eq!(author(&rollout, &with(2, "new"), None), "kubectl (unverified)");
}

#[test]
fn state_of_a_revision_follows_from_the_rollouts_status() {
    use RevisionState::{Candidate, Proven, Rejected, Superseded};
    for (name, before, target, stable, failed, expected) in [
        ("r-2", Candidate, Some("r-2"), Some("r-1"), false, Candidate),
        ("r-2", Candidate, Some("r-2"), Some("r-2"), false, Proven),
        ("r-2", Candidate, Some("r-2"), Some("r-1"), true, Rejected),
        ("r-2", Proven, Some("r-2"), Some("r-1"), true, Rejected),
        ("r-2", Rejected, Some("r-2"), Some("r-1"), false, Candidate),
        ("r-2", Rejected, Some("r-3"), Some("r-1"), false, Rejected),
        ("r-2", Candidate, Some("r-3"), Some("r-1"), false, Superseded),
        ("r-1", Proven, Some("r-3"), Some("r-2"), true, Proven),
        ("r-1", Proven, Some("r-2"), Some("r-1"), true, Proven),
    ] {
        let got = state(name, before, &Standing { target, stable, failed, wanted: None });
        assert_eq!(got, expected, "{name} {before:?}, target {target:?}, stable {stable:?}, failed {failed}");
    }
}

#[test]
fn content_that_waits_is_a_candidate_unless_it_has_a_past() {
    use RevisionState::{Candidate, Proven, Rejected, Superseded};
    let standing = Standing { target: Some("r-2"), stable: Some("r-1"), failed: false, wanted: Some("r-3") };
    for (before, expected) in
        [(Candidate, Candidate), (Superseded, Candidate), (Rejected, Rejected), (Proven, Proven)]
    {
        assert_eq!(state("r-3", before, &standing), expected, "{before:?}");
    }
}

#[test]
fn oldest_revisions_that_nobody_needs_are_surplus() {
    let known = known(&[
        ("r-1", "r", 1, 1),
        ("r-2", "r", 2, 2),
        ("r-3", "r", 3, 3),
        ("r-4", "r", 4, 4),
        ("other-1", "other", 1, 9),
    ]);
    let needing = |names: &'static [&'static str]| move |name: &str, _: ConfigHash| names.contains(&name);
    for (limit, needed, expected) in [
        (4, &[][..], &[][..]),
        (2, &[], &["r-2", "r-1"]),
        (1, &["r-1"], &["r-3", "r-2"]),
        (1, &["r-3", "r-4"], &["r-1"]),
        (1, &["r-1", "r-2", "r-3", "r-4"], &[]),
    ] {
        assert_eq!(
            surplus(&known, "r", limit, needing(needed)),
            expected,
            "limit {limit}, needed {needed:?}"
        );
    }
}

#[test]
fn revision_that_an_agent_still_runs_is_needed_by_its_hash() {
    let known = known(&[("r-1", "r", 1, 1), ("r-2", "r", 2, 2), ("r-3", "r", 3, 3)]);
    assert_eq!(surplus(&known, "r", 1, |_, running| running == hash(1)), ["r-2"]);
}

#[test]
fn newest_revision_always_stays_so_that_no_number_is_given_twice() {
    let known = known(&[("r-1", "r", 1, 1), ("r-2", "r", 2, 2)]);
    assert_eq!(surplus(&known, "r", 0, |_, _| false), ["r-1"]);
}
