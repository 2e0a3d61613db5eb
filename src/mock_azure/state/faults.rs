//! How the mock is told to misbehave.

use serde::{Deserialize, Serialize};

/// Which side misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::mock_azure) enum Target {
    /// The identity provider.
    Entra,
    /// The resource manager.
    Arm,
    /// The v1 model management service, and discovery.
    Mms,
    /// The front ends.
    Scoring,
    /// The managed-identity endpoints.
    Imds,
}

/// In what way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::mock_azure) enum Kind {
    /// Connections are closed without an answer.
    Down,
    /// An error in place of the work.
    Status,
    /// The work, `delay` seconds late.
    Slow,
    /// The work is done, and then an error is answered.
    AfterEffect,
    /// 200 with JSON that says nothing of what was asked.
    Garbage,
    /// The work is done, and the connection closed without an answer.
    LostReply,
    /// Scoring only: a refused request's body is left unread and its connection closed.
    RefuseEarly,
}

/// One misbehaviour: the body of `PUT /faults`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::mock_azure) struct Fault {
    pub(in crate::mock_azure) target: Target,
    pub(in crate::mock_azure) kind: Kind,
    /// Of the error. Default 503 (`status`), 500 (`after_effect`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) status: Option<u16>,
    /// Seconds before anything else happens. Default 0, for `slow` 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) delay: Option<f64>,
    /// For how many requests. Default: until `DELETE /faults`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) count: Option<u64>,
    /// `Retry-After` of the error, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) retry_after: Option<u64>,
    /// Only this kind of call, as `GET /seen` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) call: Option<String>,
    /// Only this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) service: Option<String>,
    /// Scoring only: only this front end, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) front_end: Option<usize>,
    /// Entra only: number of the error (`AADSTS…`), which then also decides its name and status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::mock_azure) code: Option<u32>,
}

/// Longest `delay`: a day.
const MAX_DELAY: f64 = 86_400.0;

impl Fault {
    /// What is wrong with it, for a person.
    pub(in crate::mock_azure) fn complaint(&self) -> Option<&'static str> {
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Some("status must be from 200 to 599");
        }
        if self.delay.is_some_and(|delay| !(0.0..=MAX_DELAY).contains(&delay)) {
            return Some("delay is in seconds, from 0 to 86400");
        }
        if self.count == Some(0) {
            return Some("count must be at least 1; leave it out for a fault that stays");
        }
        let only_scoring = self.kind == Kind::RefuseEarly || self.front_end.is_some();
        if only_scoring && self.target != Target::Scoring {
            return Some("refuse_early and front_end go with the target scoring only");
        }
        if self.code.is_some() && self.target != Target::Entra {
            return Some("code goes with the target entra only");
        }
        None
    }

    fn covers(&self, request: &Meeting<'_>) -> bool {
        let same = |asked: &Option<String>, is: Option<&str>| {
            asked.as_deref().is_none_or(|asked| is.is_some_and(|is| is.eq_ignore_ascii_case(asked)))
        };
        // `token` stands for every `token:GRANT`.
        let family = request.call.split(':').next();
        self.target == request.target
            && (same(&self.call, Some(request.call)) || same(&self.call, family))
            && same(&self.service, request.service)
            && self.front_end.is_none_or(|front_end| request.front_end == Some(front_end))
    }
}

/// A request that may meet a fault.
#[derive(Debug, Clone, Copy)]
pub(in crate::mock_azure) struct Meeting<'a> {
    pub(in crate::mock_azure) target: Target,
    pub(in crate::mock_azure) call: &'a str,
    pub(in crate::mock_azure) service: Option<&'a str>,
    pub(in crate::mock_azure) front_end: Option<usize>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::mock_azure) struct Fate {
    /// Seconds that it waits first.
    pub(in crate::mock_azure) delay: f64,
    /// What happens in place of, or after, the work.
    pub(in crate::mock_azure) fault: Option<Fault>,
}

/// All that are in force.
#[derive(Debug, Default)]
pub(in crate::mock_azure) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one; one with the same target, kind, call, service and front end is replaced.
    pub(in crate::mock_azure) fn put(&mut self, fault: Fault) {
        self.0.retain(|old| {
            (old.target, old.kind, old.front_end) != (fault.target, fault.kind, fault.front_end)
                || old.call != fault.call
                || old.service != fault.service
        });
        self.0.push(fault);
    }

    pub(in crate::mock_azure) fn clear(&mut self) {
        self.0.clear();
    }

    pub(in crate::mock_azure) fn all(&self) -> &[Fault] {
        &self.0
    }

    pub(in crate::mock_azure) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether connections to a side are not even taken: it is down as a whole.
    pub(in crate::mock_azure) fn is_down(
        &self,
        target: Target,
        service: Option<&str>,
        front_end: Option<usize>,
    ) -> bool {
        let request = Meeting { target, call: "", service, front_end };
        self.0.iter().any(|fault| {
            fault.kind == Kind::Down && fault.count.is_none() && fault.call.is_none() && fault.covers(&request)
        })
    }

    /// What becomes of this request. Slowness adds up; of the rest the one that was told first happens. Counts go down.
    pub(in crate::mock_azure) fn meet(&mut self, request: &Meeting<'_>) -> Fate {
        let mut fate = Fate::default();
        for fault in &mut self.0 {
            let taken = fault.kind != Kind::Slow && fate.fault.is_some();
            if taken || !fault.covers(request) {
                continue;
            }
            fate.delay += fault.delay.unwrap_or(if fault.kind == Kind::Slow { 1.0 } else { 0.0 });
            if let Some(count) = &mut fault.count {
                *count = count.saturating_sub(1);
            }
            if fault.kind != Kind::Slow {
                fate.fault = Some(fault.clone());
            }
        }
        self.0.retain(|fault| fault.count != Some(0));
        fate
    }
}
