//! Counters that can be asked what came since a moment.
//!
//! Beside the present values a short history is kept: the values as they were at each look, so that two looks delimit exactly what
//! came between them, and marks, every tenth of a second in which something is counted, for moments at which nobody looked.

use std::collections::{BTreeMap, VecDeque};

use crate::service_auth::Slot;

/// A mark at most this often, milliseconds.
const EVERY: u64 = 100;
/// A minute of marks.
const MAX_MARKS: usize = 600;
/// Looks that are remembered: what a long test may come back to.
const MAX_LOOKS: usize = 2_000;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mock_azure) enum Count {
    Connections,
    Requests,
    Accepted,
    Refused,
    /// By the reason of the refusal.
    Reason(&'static str),
    /// By the value presented: of which slot it is, and how many newer ones its slot has had. None: of no slot, ever.
    Value {
        slot: Option<Slot>,
        age: usize,
        accepted: bool,
    },
    /// By the age of a token: `fresh`, `past_refresh_by` or `expired`.
    Token(&'static str),
    FrontEndConnections(usize),
    FrontEndRequests(usize),
    FrontEndRefused(usize),
    /// By kind of call to a control plane or the identity provider.
    Call(&'static str),
    /// Keys regenerated through the admin API.
    OutsideRegenerations,
}

pub(in crate::mock_azure) type Values = BTreeMap<Count, u64>;

/// Counters with their history.
#[derive(Debug, Default)]
pub(in crate::mock_azure) struct Counters {
    values: Values,
    marks: VecDeque<(u64, Values)>,
    looks: VecDeque<(u64, Values)>,
}

impl Counters {
    /// Counts one thing. `at`: Unix milliseconds.
    pub(in crate::mock_azure) fn add(&mut self, at: u64, counts: impl IntoIterator<Item = Count>) {
        let newest = self.marks.back().map(|(at, _)| at).max(self.looks.back().map(|(at, _)| at));
        if newest.is_none_or(|newest| at >= newest.saturating_add(EVERY)) {
            remember(&mut self.marks, MAX_MARKS, at, &self.values);
        }
        for count in counts {
            *self.values.entry(count).or_default() += 1;
        }
    }

    /// Somebody looks.
    pub(in crate::mock_azure) fn mark(&mut self, at: u64) {
        remember(&mut self.looks, MAX_LOOKS, at, &self.values);
    }

    /// What was counted since a moment; all where none is given. Nothing that came at that moment or later is left out; what came up
    /// to a tenth of a second before is in it, unless the moment is that of a look.
    pub(in crate::mock_azure) fn since(&self, moment: Option<u64>) -> Values {
        let Some(moment) = moment else { return self.values.clone() };
        let last = |history: &'_ VecDeque<(u64, Values)>| history.iter().rposition(|(at, _)| *at <= moment);
        let look = last(&self.looks).and_then(|index| self.looks.get(index));
        let mark = last(&self.marks).and_then(|index| self.marks.get(index));
        // Of one moment the look: what was counted in that moment before it is not part of what came since.
        let newest = match (look, mark) {
            (Some(look), Some(mark)) => Some(if look.0 >= mark.0 { look } else { mark }),
            (look, mark) => look.or(mark),
        };
        let Some((_, before)) = newest else { return self.values.clone() };
        let grown = |(count, value): (&Count, &u64)| {
            let grown = value - before.get(count).copied().unwrap_or_default();
            (grown > 0).then(|| (count.clone(), grown))
        };
        self.values.iter().filter_map(grown).collect()
    }
}

fn remember(history: &mut VecDeque<(u64, Values)>, most: usize, at: u64, values: &Values) {
    if history.len() == most {
        history.pop_front();
    }
    history.push_back((at, values.clone()));
}
