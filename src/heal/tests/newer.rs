//! Treatments, and agents, of a newer version.

use super::*;
use crate::fleet::Ordered;

#[test]
fn treatment_of_a_newer_version_stays_as_it_is_while_its_content_is_assigned() {
    let mut world = World::new();
    world.drifts();
    world.at(1);
    let known = world.treatment.clone().expect("a treatment");
    let last = known.last.expect("an order");
    for newer in [
        Treatment { cause: Cause::Other(7), ..known.clone() },
        Treatment { last: Some(Ordered { order: Order::Other(9), ..last }), ..known.clone() },
    ] {
        world.treatment = Some(newer.clone());
        (world.is_judged, world.rules.corrects) = (true, false);
        world.at(1000);
        assert_eq!(world.treatment.as_ref(), Some(&newer), "whatever else is the matter");
        (world.is_judged, world.rules.corrects) = (false, true);
        world.assigned = Some(hash(B));
        world.at(1001);
        assert_ne!(world.treatment, Some(newer), "other content ends it");
        world.assigned = Some(hash(A));
    }
    // It was carried out long ago, and a newer version tells of the agent in a format that is not known here.
    let known = Treatment { last: Some(Ordered { done: Some(at(2)), ..last }), ..known };
    for (newer, expected) in [(true, Some(known.clone())), (false, None)] {
        world.treatment = Some(known.clone());
        (world.agent.newer, world.agent.running, world.agent.sight) = (newer, None, None);
        world.at(2000);
        assert_eq!(world.treatment, expected, "nobody knows how the agent does");
    }
}
