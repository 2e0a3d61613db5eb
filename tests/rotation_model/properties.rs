//! The invariants, told from outside the machine: by what the world saw, not by what the machine says of itself.

use std::{collections::BTreeSet, time::Duration};

use scoregate::{
    clock::Moment,
    ids::Generation,
    rotation::{
        digest::Digest,
        event::{Action, Event, Notice, Why},
        invariants::audit,
        ladder::MAX_SENDS,
        offer::{Access, Hold, Offer},
        operation::Origin,
        renumber::Renumber,
        rules::Rules,
        service::Service,
        slot::{PerSlot, Slot},
    },
};

use crate::{
    azure::{Maker, Value, value},
    renumbering::{NOW, Renumbering, tick},
    world::{Request, World},
};

/// What the world remembers that the machine does not know, or should not need to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    /// The highest generation that was ever published, and reserved on the disk.
    pub highest: Generation,
    /// Values that a front end accepted.
    pub accepted: BTreeSet<Value>,
    /// Values that a regeneration of ours replaced.
    pub retired: BTreeSet<Value>,
    /// When the machine could know at the earliest that a key had changed.
    pub changed: PerSlot<Option<Moment>>,
    /// Values that a read has shown.
    pub shown: BTreeSet<Value>,
    /// A read failed, or was late, since the last request began.
    pub read_failed: bool,
    /// A read that callers cause had to wait for the bucket.
    pub bucket_reads: u8,
}

impl Ghost {
    pub fn note_read_begun(&mut self, why: Why) {
        if why == Why::Rejected {
            self.bucket_reads = (self.bucket_reads + 1).min(3);
        }
    }

    pub fn renumber(&mut self, by: &mut Renumbering, rules: &Rules) {
        // Zero: none.
        if self.highest > 0 {
            by.generation(&mut self.highest);
        }
        if by.ages_are_alike() {
            self.changed = PerSlot::default();
        }
        for slot in Slot::BOTH {
            if let Some(at) = &mut self.changed[slot] {
                by.moment(at, rules.min_gap);
            }
        }
    }
}

/// After each step of the machine.
pub fn after_a_step(in_hand: Option<Slot>, after: &Service, actions: &[Action], ghost: &Ghost) -> Result<(), String> {
    for action in actions {
        if let Action::Tell(Notice::Adopted(slot)) = action
            && let Some(adopted) = after.keys().slot(*slot).value.map(value)
        {
            if ghost.retired.contains(&adopted) {
                return Err(format!("invariant 9: {adopted} was adopted, which we had retired"));
            }
            if in_hand == Some(*slot) {
                return Err(format!("invariant 9: {slot:?} was adopted while it was in hand"));
            }
        }
    }
    for slot in Slot::BOTH {
        let incoming = after.keys().slot(slot).incoming.as_ref().map(|incoming| value(incoming.value));
        if let Some(stale) = incoming.filter(|incoming| ghost.retired.contains(incoming)) {
            return Err(format!("invariant 9: {stale} is taken for a change, which we had retired"));
        }
    }
    Ok(())
}

/// What the machine's own audit says.
pub fn audited(
    before: &Service,
    after: &Service,
    actions: &[Action],
    passed: Duration,
    rules: &Rules,
) -> Result<(), String> {
    let broken = audit(before, after, actions, tick(passed), rules);
    if broken.is_empty() { Ok(()) } else { Err(format!("the audit finds {broken:?}")) }
}

/// The machine never wants to be looked at again at once, for ever.
pub fn can_rest(world: &World, after: Duration, rules: &Rules) -> Result<(), String> {
    let now = NOW + after;
    match world.service.as_ref().and_then(|service| service.next_wake(now, rules)) {
        Some(at) if at <= now => Err(format!("it wants to be looked at again {at:?}, and it is {now:?}")),
        _ => Ok(()),
    }
}

/// An answer that comes twice does nothing the second time.
pub fn answered_twice(world: &World, event: &Event, after: Duration, rules: &Rules) -> Result<(), String> {
    let is_answer = matches!(
        event,
        Event::Read { .. }
            | Event::Probed { .. }
            | Event::Written { .. }
            | Event::Regenerated { .. }
            | Event::Polled { .. }
    );
    let Some(service) = world.service.as_ref().filter(|_| is_answer) else { return Ok(()) };
    let (again, actions) = service.step(event, tick(after), rules);
    if again == *service && actions.is_empty() {
        Ok(())
    } else {
        Err(format!("a doubled answer does something: {event:?} leads to {actions:?}"))
    }
}

/// When an offer is published.
pub fn at_a_publication(world: &mut World, offer: &Offer<Digest>) -> Result<(), String> {
    let before = world.published.map_or(0, |before| before.generation).max(world.ghost.highest);
    if offer.generation <= before {
        return Err(format!("invariant 5: generation {} after {before}", offer.generation));
    }
    // Of what a broken disk could not reserve the next process cannot know.
    if world.disk.as_ref().is_some_and(|journal| offer.generation <= journal.generation) {
        world.ghost.highest = offer.generation;
    }
    for active in [offer.held, offer.others] {
        if !world.ghost.accepted.contains(&value(active)) && world.azure.maker_of(value(active)) != Maker::Before {
            return Err(format!("invariant 6: {} became active, and no front end had accepted it", value(active)));
        }
    }
    Ok(())
}

/// When a key is regenerated.
pub fn at_a_regeneration(world: &mut World, slot: Slot, rules: &Rules) -> Result<(), String> {
    if world.calls.regenerate.is_some() || world.azure.pending.is_some() {
        return Err("invariant 3: a second regeneration while one is outstanding".to_owned());
    }
    let intent = world.disk.as_ref().and_then(|journal| journal.open.as_ref()).filter(|open| open.slot == slot);
    if intent.is_none_or(|open| open.intent.is_none()) {
        return Err("invariant 4: the call is made, and the disk does not say so".to_owned());
    }
    let transaction = world.service.as_ref().and_then(Service::transaction);
    let Some(transaction) = transaction else {
        return Err("invariant 9: a regeneration that no transaction asked for".to_owned());
    };
    let leaked = transaction.open.origin == Origin::Leaked;
    let too_soon = |at: &Moment| NOW.since(*at) < rules.min_gap;
    if !leaked && world.ghost.changed[slot.other()].as_ref().is_some_and(too_soon) {
        return Err(format!("invariant 7: {slot:?} is regenerated too soon after the other one"));
    }
    no_way_for(world, slot)
}

/// In every state.
pub fn always(world: &World) -> Result<(), String> {
    let pending = world.azure.pending.as_ref().map(|pending| pending.slot);
    if let Some(slot) = world.calls.regenerate.as_ref().map(|(_, slot)| *slot).or(pending) {
        no_way_for(world, slot)?;
    }
    Ok(())
}

/// No request can be sent with the present value of a slot.
fn no_way_for(world: &World, slot: Slot) -> Result<(), String> {
    let doomed = crate::azure::digest(world.azure.keys[slot]);
    let offered = [&world.published, &world.worker].into_iter().flatten().any(|offer| offer.names(doomed));
    let sent = world.requests().any(|request| request.value == doomed);
    if offered || sent {
        let how = if sent { "a request has" } else { "a request can get" };
        return Err(format!("invariant 2: {slot:?} is regenerated while {how} its value"));
    }
    Ok(())
}

/// When a request is sent again.
pub fn at_a_resend(request: &Request) -> Result<(), String> {
    if request.tried.sends() > MAX_SENDS {
        return Err(format!("invariant 8: a request is sent {} times", request.tried.sends()));
    }
    if request.hold == Hold::NotHeld {
        return Err("invariant 8: a request is sent again that is not held".to_owned());
    }
    Ok(())
}

/// When a request ends because of its credential.
pub fn at_a_failure(world: &World, request: &Request) -> Result<(), String> {
    match request.hold {
        Hold::Held => held_failed(world, request),
        Hold::NotHeld => plain_failed(world, request),
    }
}

fn plain_failed(world: &World, request: &Request) -> Result<(), String> {
    let sent = value(request.value);
    let accepted = world.azure.fronts[request.front][world.azure.slot_of(sent)];
    if world.azure.outside_between(sent, accepted) {
        return Ok(());
    }
    Err(format!("invariant 1: a request that is not held fails with {sent}, and nobody else changed anything"))
}

fn held_failed(world: &World, request: &Request) -> Result<(), String> {
    if request.trial || !request.steady {
        return Ok(());
    }
    let in_hand = world.service.as_ref().and_then(|service| service.keys().in_hand());
    for slot in Slot::BOTH {
        // What it did not ask for its front end may have known all the time, if it was there.
        let met = request.met[slot].is_some();
        let mut accepted =
            world.azure.may_accept(request.front, slot).filter(|value| usize::from(*value) < request.made);
        let accepted: Vec<Value> =
            if met { request.met[slot].into_iter().collect() } else { accepted.by_ref().collect() };
        for accepted in accepted {
            let digest = crate::azure::digest(accepted);
            let offered = world.published.is_some_and(|offer| offer.access == Access::Open && offer.names(digest));
            let could_read = world.azure.keys[slot] == accepted
                && in_hand != Some(slot)
                && !world.ghost.read_failed
                && world.ghost.bucket_reads < 3;
            if offered || could_read {
                let tried = if request.tried.contains(digest) { "was tried" } else { "was not tried" };
                return Err(format!("invariant 1: a held request fails where {accepted} is accepted, which {tried}"));
            }
        }
    }
    Ok(())
}
