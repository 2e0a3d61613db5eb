//! Counters that can be asked what came since a moment.
//!
//! Beside the present values a short history is kept: marks, each the values as they were at a moment. A mark is set at every look,
//! so that two looks delimit exactly what came between them, and every tenth of a second in which something is counted.

use std::collections::{BTreeMap, VecDeque};

use crate::service_auth::Slot;

/// A mark at most this often, milliseconds.
const EVERY: u64 = 100;
/// Ten minutes of marks.
const MAX_MARKS: usize = 6_000;

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
}

impl Counters {
    /// Counts one thing. `at`: Unix milliseconds.
    pub(in crate::mock_azure) fn add(&mut self, at: u64, counts: impl IntoIterator<Item = Count>) {
        if self.marks.back().is_none_or(|(last, _)| at >= last.saturating_add(EVERY)) {
            self.mark(at);
        }
        for count in counts {
            *self.values.entry(count).or_default() += 1;
        }
    }

    /// Remembers the values as they are.
    pub(in crate::mock_azure) fn mark(&mut self, at: u64) {
        if self.marks.len() == MAX_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((at, self.values.clone()));
    }

    /// What was counted since a moment; all where none is given. Nothing that came at that moment or later is left out; what came up
    /// to a tenth of a second before is in it, unless the moment is that of a look.
    pub(in crate::mock_azure) fn since(&self, moment: Option<u64>) -> Values {
        let Some(moment) = moment else { return self.values.clone() };
        let Some((_, before)) = self.marks.iter().rev().find(|(at, _)| *at <= moment) else {
            return self.values.clone();
        };
        let grown = |(count, value): (&Count, &u64)| {
            let grown = value - before.get(count).copied().unwrap_or_default();
            (grown > 0).then(|| (count.clone(), grown))
        };
        self.values.iter().filter_map(grown).collect()
    }
}
