//! What another principal shows as effective is not put down to the agent whose uid it presents.

use super::drift::{REPORTED, says, shown, watching};
use super::*;
use crate::fleet::{Attributes, Shown};
use crate::opamp::proto::RemoteConfigStatuses::Applied;

fn principal(identity: &str) -> Arc<Principal> {
    Principal::new("default", identity, Attributes::default()).into()
}

#[test]
fn effective_configuration_of_another_principal_is_not_looked_at() {
    let (own, other) = (principal("own"), principal("other"));
    let hub = watching();
    let tampered = REPORTED.replace("h:1", "h:2");
    hub.receive(&own, Link::Polling, says(0, Applied, None), LIMIT);
    hub.receive(&own, Link::Polling, says(1, Applied, Some(REPORTED)), LIMIT);
    assert_eq!(shown(&hub), Some(Shown::InSync));
    hub.receive(&other, Link::Polling, says(2, Applied, Some(&tampered)), LIMIT);
    assert_eq!(shown(&hub), Some(Shown::InSync));
    hub.receive(&own, Link::Polling, says(2, Applied, Some(&tampered)), LIMIT);
    assert!(matches!(shown(&hub), Some(Shown::Drifted(..))), "{:?}", shown(&hub));
}
