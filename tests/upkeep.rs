//! Agents that drift, fall ill or go away, on a real API server, with simulated agents: each is put right, and who
//! cannot be is left alone.

mod support;

use kube::api::{Patch, PatchParams};
use opamp_operator::api::{
    CollectorGroup, CollectorGroupStatus, ConfigRevision, ConfigRollout, Problem, ProblemKind, RolloutState,
};
use opamp_operator::sim::{Behaviour, Cure, Habits, Takes};
use serde_json::{Value, json};
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::{Fleet, Kind};
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased, rollout, until_events};

/// Short, so that agents hear of everything soon.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// A group with its fleet and its rollout, all of one name.
struct Case<'a> {
    space: &'a Space,
    name: &'a str,
    endpoint: String,
    fleet: Fleet,
}

impl<'a> Case<'a> {
    /// A group with these agents, which are put right without long pauses.
    async fn new(space: &'a Space, operator: &Operator, name: &'a str, key: u8, kinds: &[Kind]) -> Self {
        let endpoint = operator.websocket();
        let mut fleet = Fleet::new(&endpoint, name, key, HEARTBEAT);
        for kind in kinds {
            fleet.join_as(1, kind);
        }
        let case = Self { space, name, endpoint, fleet };
        case.set(&json!({})).await;
        let all = i64::try_from(kinds.len()).expect("few");
        case.until("full", |status| status.agents.connected == all).await;
        case
    }

    /// Applies the group with more in its spec.
    async fn set(&self, more: &Value) {
        let mut manifest = group(self.name, self.name);
        manifest["spec"]["drift"] = json!({
            "scanInterval": "0s",
            "correction": {"maxAttempts": 3, "initialBackoff": "1s", "maxBackoff": "2s"},
        });
        manifest["spec"]["health"] = json!({"unhealthyAfter": "1s"});
        for (key, value) in more.as_object().expect("fields") {
            manifest["spec"][key] = value.clone();
        }
        self.space.apply(manifest).await;
    }

    /// Rolls content out to everybody, and waits until that has completed; its hash.
    async fn rolled_out(&self, mark: &str, number: usize) -> String {
        self.space.apply(rollout(self.name, self.name, inline(&collector(mark)))).await;
        self.space.rollout_is(self.name, RolloutState::Completed).await;
        self.hash(number).await
    }

    async fn hash(&self, number: usize) -> String {
        let name = format!("{}-{number}", self.name);
        self.space.api::<ConfigRevision>().get(&name).await.expect("a revision").spec.hash
    }

    async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&CollectorGroupStatus) -> bool,
    ) -> CollectorGroupStatus {
        let wanted = |group: &CollectorGroup| group.status.as_ref().is_some_and(&wanted);
        self.space.until(self.name, what, wanted).await.status.expect("a status")
    }

    /// Waits until one agent has a problem of this kind.
    async fn until_problem(&self, kind: ProblemKind) -> (CollectorGroupStatus, Problem) {
        let of_kind = |status: &CollectorGroupStatus| {
            status.problems.iter().find(|problem| problem.kind == kind).cloned()
        };
        let status = self.until(&format!("{kind:?}"), |status| of_kind(status).is_some()).await;
        let problem = of_kind(&status).expect("a problem");
        (status, problem)
    }

    async fn until_in_sync(&self) -> CollectorGroupStatus {
        let all = i64::try_from(self.fleet.len()).expect("few");
        self.until("in sync", |status| {
            let agents = &status.agents;
            (agents.in_sync, agents.healthy, agents.drifted) == (all, all, 0) && status.problems.is_empty()
        })
        .await
    }

    async fn annotate(&self, request: &str, token: &str) {
        let key = format!("fleet.opamp.dev/{request}");
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: token}}}));
        let rollouts = self.space.api::<ConfigRollout>();
        rollouts.patch(self.name, &PatchParams::default(), &patch).await.expect("annotated");
    }

    /// What one agent was offered, as hashes on the wire.
    fn offers(&self, agent: usize) -> Vec<String> {
        self.fleet.offers()[agent].iter().map(|offer| hex::encode(&offer.hash)).collect()
    }

    /// Waits until the group has exactly so many Events of this reason.
    async fn told(&self, reason: &str, times: usize) -> Vec<String> {
        let events = until_events(self.space, self.name, &[reason], times).await.into_iter();
        events.filter(|(found, _)| found == reason).map(|(_, note)| note).collect()
    }
}

fn habits(takes: Takes, cure: Cure) -> Habits {
    Habits { takes, cure, ..Habits::default() }
}

/// One operator for all of them: a cluster has one.
#[tokio::test(flavor = "multi_thread")]
async fn agents_that_drift_fall_ill_or_go_away_are_put_right_or_left_alone() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "upkeep").await;
    let mut operator = Operator::start(&plane, "upkeep").await;
    let case = async |name, key, kinds: &[Kind]| Case::new(&space, &operator, name, key, kinds).await;

    let shows = |habits| Kind::showing_effective().with(habits);
    let reverting = Habits { reverts: true, ..Habits::default() };
    let takers =
        [shows(habits(Takes::Everything, Cure::Nothing)), shows(habits(Takes::NewHash, Cure::Nothing))];
    let patients = [
        shows(habits(Takes::NewHash, Cure::Restart)).accepting_restarts(),
        shows(habits(Takes::NewHash, Cure::AnyOffer)),
    ];
    let incurable = [shows(habits(Takes::NewHash, Cure::Nothing)).accepting_restarts()];
    let reverting = case("reverting", 1, &[shows(reverting)]).await;
    let takers = case("takers", 2, &takers).await;
    let patients = case("patients", 3, &patients).await;
    let incurable = case("incurable", 4, &incurable).await;
    let allergic = case("allergic", 5, &[shows(Habits::default()), shows(Habits::default())]).await;
    let wanderer = case("wanderer", 6, &[Kind::showing_effective()]).await;
    let mute = case("mute", 7, &[Kind::new(&Behaviour::Apply), Kind::new(&Behaviour::Apply)]).await;
    let (reverting, ..) = tokio::join!(
        agent_that_reverts_every_correction_is_quarantined_after_exactly_the_attempts(reverting),
        plain_offer_is_tried_first_and_then_a_correction(takers),
        restart_comes_first_and_then_an_offer(patients),
        what_nothing_helps_is_quarantined(incurable),
        agent_that_the_target_makes_ill_is_sent_back_alone(allergic),
        agent_is_scanned_and_looked_at_when_it_returns(wanderer),
        agent_that_does_not_answer_drifts_and_is_offered_again(mute),
    );

    operator.kill();
    let operator = Operator::start_on(&plane, "upkeep", &operator.opamp).await;
    quarantine_outlives_the_operator_and_ends_with_a_retry(reverting).await;
    drop(operator);
}

async fn agent_that_reverts_every_correction_is_quarantined_after_exactly_the_attempts(
    case: Case<'_>,
) -> Case<'_> {
    let hash = case.rolled_out("reverting", 1).await;
    case.until_in_sync().await;
    case.fleet.tamper(0, &collector("tampered"));
    let (status, problem) = case.until_problem(ProblemKind::Quarantined).await;
    assert!(problem.message.ends_with("3 corrections did not last"), "{}", problem.message);
    assert!(
        problem.message.starts_with("Modified at processors::attributes::actions"),
        "{}",
        problem.message
    );
    assert_eq!(status.agents.quarantined, 1);
    let degraded = status.conditions.iter().find(|condition| condition.type_ == "Degraded");
    assert_eq!(degraded.map(|condition| condition.reason.as_str()), Some("AgentsQuarantined"));
    assert_eq!(case.fleet.times_offered(&hash), 1 + 3, "{:?}", case.offers(0));
    case.told("Quarantined", 1).await;
    case
}

async fn quarantine_outlives_the_operator_and_ends_with_a_retry(mut case: Case<'_>) {
    let hash = case.hash(1).await;
    let back = |status: &CollectorGroupStatus| {
        (status.agents.connected, status.agents.quarantined, status.agents.drifted) == (1, 1, 1)
    };
    case.until("seen again, still quarantined", back).await;
    case.fleet.hear(20).await;
    assert_eq!(case.fleet.times_offered(&hash), 1 + 3, "{:?}", case.offers(0));

    case.annotate("retry", "once").await;
    case.until("no longer quarantined", |status| status.agents.quarantined == 0).await;
    case.until_problem(ProblemKind::Quarantined).await;
    assert_eq!(case.fleet.times_offered(&hash), 1 + 3 + 3, "{:?}", case.offers(0));
    let released = case.told("Released", 1).await;
    assert!(released[0].ends_with("a retry was asked for"), "{released:?}");

    // Other content is another matter, and one that the agent keeps.
    case.fleet.set_habits(0, &Habits::default());
    case.rolled_out("other", 2).await;
    case.until_in_sync().await;
}

async fn plain_offer_is_tried_first_and_then_a_correction(case: Case<'_>) {
    let hash = case.rolled_out("takers", 1).await;
    case.until_in_sync().await;
    // One after the other: of two agents one is put right at a time.
    for (agent, offers) in
        [(0, vec![hash.clone(); 2]), (1, vec![hash.clone(), hash.clone(), format!("{hash}01")])]
    {
        case.fleet.tamper(agent, &collector("tampered"));
        case.until_problem(ProblemKind::Drifted).await;
        case.until_in_sync().await;
        assert_eq!(case.offers(agent), offers);
    }
    case.told("AgentsDrifted", 2).await;
    case.told("NoDrift", 2).await;
}

async fn restart_comes_first_and_then_an_offer(case: Case<'_>) {
    let hash = case.rolled_out("patients", 1).await;
    case.until_in_sync().await;
    for agent in [0, 1] {
        case.fleet.fall_ill(agent);
        case.until_problem(ProblemKind::Unhealthy).await;
        case.until_in_sync().await;
    }
    assert_eq!((case.fleet.restarts(), case.fleet.ignored_commands()), (vec![1, 0], vec![0, 0]));
    let corrected = format!("{hash}01");
    let offers = [case.offers(0), case.offers(1)];
    assert_eq!(offers, [vec![hash.clone()], vec![hash, corrected]], "of the first the restart was enough");
    case.told("Healed", 2).await;
}

async fn what_nothing_helps_is_quarantined(case: Case<'_>) {
    let hash = case.rolled_out("incurable", 1).await;
    case.until_in_sync().await;
    // First it is only told.
    case.set(&json!({"health": {"unhealthyAfter": "1s", "onUnhealthy": "Report"}})).await;
    case.fleet.fall_ill(0);
    let (_, told) = case.until_problem(ProblemKind::Unhealthy).await;
    assert_eq!(told.message, "");
    case.set(&json!({})).await;
    let (_, problem) = case.until_problem(ProblemKind::Quarantined).await;
    assert_eq!(problem.message, "stays unhealthy; 2 attempts, the last: offered its revision anew");
    assert_eq!((case.fleet.restarts(), case.offers(0)), (vec![1], vec![hash.clone(), format!("{hash}01")]));
    case.fleet.recover(0);
    case.until_in_sync().await;
}

/// The canary's phase has passed, the next one waits for approval, and stable is another revision.
async fn agent_that_the_target_makes_ill_is_sent_back_alone(mut case: Case<'_>) {
    let first = case.rolled_out("well", 1).await;
    case.until_in_sync().await;
    let phases = json!([
        {"name": "canary", "agents": 1, "approval": "Manual"},
        {"name": "full", "agents": "100%", "approval": "Manual"},
    ]);
    let mut manifest = phased(case.name, case.name, inline(&collector("ill")), phases);
    // Its illness does not end the attempt.
    manifest["spec"]["strategy"]["failureThreshold"] = json!("100%");
    case.space.apply(manifest).await;
    case.space.rollout_is(case.name, RolloutState::AwaitingApproval).await;
    let second = case.hash(2).await;
    let canary = *case.fleet.offered(&second).first().expect("a canary");
    case.annotate("promote", "on").await;
    case.fleet.until_offered(&second, 2).await;
    let all_run = |rollout: &ConfigRollout| {
        let status = rollout.status.as_ref();
        status.is_some_and(|status| {
            status.state == RolloutState::AwaitingApproval && status.agents.updated == 2
        })
    };
    case.space.until(case.name, "waiting after its last phase", all_run).await;

    let cure = Cure::Content(first.parse().expect("a hash"));
    case.fleet.set_habits(canary, &habits(Takes::NewHash, cure));
    case.fleet.fall_ill(canary);
    let (_, problem) = case.until_problem(ProblemKind::SentBack).await;
    assert!(problem.message.contains("a retry offers it the target"), "{}", problem.message);
    let offered = [first.clone(), second.clone(), format!("{second}01"), first.clone()];
    assert_eq!(case.offers(canary), offered, "its revision anew, then stable");
    case.told("SentBack", 1).await;
    case.fleet.hear(20).await;
    assert_eq!(case.fleet.offers().iter().map(Vec::len).sum::<usize>(), 4 + 2, "it alone, and it keeps that");
}

async fn agent_is_scanned_and_looked_at_when_it_returns(mut case: Case<'_>) {
    let hash = case.rolled_out("wanderer", 1).await;
    case.until_in_sync().await;
    let asked = case.fleet.full_state_requests()[0];
    case.fleet.hear(20).await;
    assert_eq!(case.fleet.full_state_requests()[0], asked, "without an interval nobody asks");
    case.set(&json!({"drift": {"scanInterval": "1s"}, "offlineAfter": "1s"})).await;
    case.fleet.until(0, "asked twice more", |journal| journal.full_states >= asked + 2).await;
    assert_eq!(case.offers(0).len(), 1);

    // It goes without a word, and what comes back with its uid runs nothing.
    case.fleet = Fleet::new(&case.endpoint, case.name, 6, HEARTBEAT);
    let (status, problem) = case.until_problem(ProblemKind::Offline).await;
    assert_eq!((status.agents.connected, status.agents.offline, &*problem.host), (0, 1, "host-0"));
    case.fleet.join_as(1, &Kind::showing_effective());
    case.until_in_sync().await;
    assert_eq!(case.offers(0), [hash]);
}

async fn agent_that_does_not_answer_drifts_and_is_offered_again(case: Case<'_>) {
    let hash = case.rolled_out("mute", 1).await;
    case.fleet.set_behaviour(0, &Behaviour::Silent);
    // The other one takes it, so the rollout completes all the same.
    let mut manifest = rollout(case.name, case.name, inline(&collector("silence")));
    manifest["spec"]["strategy"]["applyTimeout"] = json!("2s");
    manifest["spec"]["strategy"]["failureThreshold"] = json!("50%");
    case.space.apply(manifest).await;
    let (_, problem) = case.until_problem(ProblemKind::Drifted).await;
    assert!(problem.message.starts_with("Stale"), "{}", problem.message);
    let second = case.hash(2).await;
    case.fleet.set_behaviour(0, &Behaviour::Apply);
    case.until_in_sync().await;
    let offers = case.offers(0);
    assert_eq!(offers[0], hash);
    assert!(offers.len() >= 3 && offers[1..].iter().all(|offer| *offer == second), "{offers:?}");
}
