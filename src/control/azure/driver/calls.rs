//! Calls to Azure as the machines ask for them: one call each, with a deadline, and what its answer means to them.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    azure::{
        calls::Calls,
        error::{Error, Heals},
        service::{
            Auth, ControlPlane, KeyPair, Regenerated, ServiceToken,
            operation::{Operation, Progress},
        },
    },
    config::model::Slot,
    rotation::{
        event::{CallOutcome, PollOutcome},
        token::{Grant, When},
    },
    secret::Secret,
};

/// A read, with a sign-in before it. A read that takes longer is worth less than another one.
const READ_PATIENCE: Duration = Duration::from_secs(90);
/// A change may take its time, and is not known to have failed when it does.
const CHANGE_PATIENCE: Duration = Duration::from_secs(150);
/// What somebody has to mend is tried again this often.
const LATER: Duration = Duration::from_secs(60);

pub(super) async fn list_keys(plane: Arc<dyn ControlPlane>) -> Result<KeyPair, Error> {
    let mut calls = Calls::default();
    in_time(READ_PATIENCE, "read the keys", plane.list_keys(&mut calls)).await
}

pub(super) async fn token(
    plane: Arc<dyn ControlPlane>,
    auth: Auth,
    refused: Option<Secret>,
) -> Result<ServiceToken, Error> {
    let mut calls = Calls::default();
    in_time(READ_PATIENCE, "fetch a token", plane.token(auth, refused.as_ref(), &mut calls)).await
}

pub(super) async fn regenerate(
    plane: Arc<dyn ControlPlane>,
    slot: Slot,
    value: Option<Secret>,
) -> (CallOutcome, Option<Error>) {
    let mut calls = Calls::default();
    match timeout(CHANGE_PATIENCE, plane.regenerate(slot, value.as_ref(), &mut calls)).await {
        // Dropped on its way: it may have arrived.
        Err(_elapsed) => (CallOutcome::Unknown, None),
        Ok(Ok(Regenerated::Done | Regenerated::Untracked)) => (CallOutcome::Done, None),
        Ok(Ok(Regenerated::Started(operation, poll_after))) => {
            (CallOutcome::Begun { address: operation.to_string().into(), poll_after }, None)
        }
        Ok(Err(error)) => (failed(&error), Some(error)),
    }
}

fn failed(error: &Error) -> CallOutcome {
    match error.status() {
        Some(403) => CallOutcome::Denied,
        Some(409) => CallOutcome::Conflict,
        Some(429) => CallOutcome::Throttled { retry_after: error.retry_after() },
        _ if error.may_have_happened() => CallOutcome::Unknown,
        Some(status) => CallOutcome::Refused { status },
        // It was never sent.
        None => CallOutcome::Throttled { retry_after: error.retry_after() },
    }
}

pub(super) async fn poll(plane: Arc<dyn ControlPlane>, address: &str) -> (PollOutcome, Option<String>) {
    // Whatever wrote that, it cannot be asked; the keys themselves will tell.
    let Ok(operation) = address.parse::<Operation>() else {
        return (PollOutcome::Failed, Some("its address is none".to_owned()));
    };
    let mut calls = Calls::default();
    match in_time(READ_PATIENCE, "look how an operation stands", plane.poll(&operation, &mut calls)).await {
        Ok(Progress::Running(_, retry_after)) => (PollOutcome::Running { retry_after }, None),
        Ok(Progress::Succeeded) => (PollOutcome::Succeeded, None),
        Ok(Progress::Failed(why)) => (PollOutcome::Failed, Some(why)),
        Err(error) if error.status() == Some(404) => (PollOutcome::Failed, Some(error.to_string())),
        Err(error) => (PollOutcome::Unknown { retry_after: pause(&error) }, Some(error.to_string())),
    }
}

/// How long to leave it alone after a failure, where something says so.
pub(super) fn pause(error: &Error) -> Option<Duration> {
    let mended = (error.heals() == Heals::Later).then_some(LATER);
    error.retry_after().max(mended)
}

/// A token's times, as the machine takes them. `unix` is our own clock.
pub(super) fn grant(token: &ServiceToken, unix: u64) -> Grant {
    let at = |unix: i64| When::Unix(u64::try_from(unix).unwrap_or(0));
    Grant {
        expires: at(token.expires_unix),
        // Where nothing says when, it stands at the end.
        refresh_by: (token.refresh_unix < token.expires_unix).then(|| at(token.refresh_unix)),
        date: token.ahead.map(|ahead| unix.saturating_add_signed(ahead)),
    }
}

async fn in_time<T>(patience: Duration, doing: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answered = timeout(patience, call).await;
    answered.unwrap_or_else(|_elapsed| Err(Error::local(doing, format!("nothing came of it within {patience:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::{error::Fault, refusal::Refusal};

    fn refused(status: u16) -> Error {
        Error::new("x", Fault::Refused { host: "h".into(), refusal: Refusal::read(status, b"", &[]) })
    }

    #[test]
    fn only_what_certainly_did_nothing_is_taken_for_that() {
        for (status, outcome) in [
            (400, CallOutcome::Refused { status: 400 }),
            (403, CallOutcome::Denied),
            (404, CallOutcome::Refused { status: 404 }),
            (408, CallOutcome::Unknown),
            (409, CallOutcome::Conflict),
            (429, CallOutcome::Throttled { retry_after: None }),
            (500, CallOutcome::Unknown),
            (503, CallOutcome::Unknown),
        ] {
            assert_eq!(failed(&refused(status)), outcome, "{status}");
        }
        let host = || "h".to_owned();
        let lost = Error::new("x", Fault::NoAnswer { host: host(), why: String::new() });
        assert_eq!(failed(&lost), CallOutcome::Unknown);
        let unsent = Error::new("x", Fault::Unreachable { host: host(), why: String::new() });
        assert_eq!(failed(&unsent), CallOutcome::Throttled { retry_after: None });
    }

    #[test]
    fn a_tokens_times_are_those_of_its_provider() {
        let token = |refresh_unix, ahead| ServiceToken {
            value: Secret::new(Vec::new()),
            expires_unix: 5_000,
            refresh_unix,
            ahead,
        };
        assert_eq!(
            grant(&token(3_000, Some(-240)), 1_240),
            Grant { expires: When::Unix(5_000), refresh_by: Some(When::Unix(3_000)), date: Some(1_000) }
        );
        assert_eq!(grant(&token(5_000, None), 1_240).refresh_by, None);
        assert_eq!(grant(&token(5_000, None), 1_240).date, None);
    }
}
