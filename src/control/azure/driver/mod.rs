//! Drivers: they do what the pure machines of [`crate::rotation`] say, and tell them what came of it.
//!
//! `keys` drives a service with two keys, `tokens` one with tokens, `open` one that wants nothing. Each runs in the task of its service;
//! calls to Azure, probes and the disk have tasks of their own with a deadline, so that a driver always answers at once. Nothing is
//! decided here that `rotation` decides.

mod calls;
mod keys;
mod tell;
mod timetable;
mod tokens;
mod values;

use std::time::Duration;

use super::seat::{End, Located, Order, Seat};
use crate::{
    azure::{error::Error, service::Auth},
    clock::Moment,
    control::{attach::Attach, desk::Request},
    rotation::refusal::Refusal,
};

/// Between two attempts to attach what could not be attached.
const REATTACH: Duration = Duration::from_secs(1);
/// Between two looks at what the service is, where the last one did not settle that.
const DESCRIBE_AGAIN: Duration = Duration::from_secs(30);

/// Drives a service until it is gone or has become another one.
pub(super) async fn drive(seat: &mut Seat, located: Located) -> End {
    match (located.auth, &located.id) {
        (Auth::Open, _) => open(seat).await,
        (Auth::Token | Auth::Entra, _) => Box::pin(tokens::drive(seat, located)).await,
        (Auth::Key, Some(_)) => Box::pin(keys::drive(seat, located)).await,
        (Auth::Key, None) => End::Changed,
    }
}

/// A service that lets everybody in: attached nothing, and looked at again with each reload.
async fn open(seat: &mut Seat) -> End {
    loop {
        if let Err(why) = seat.attach(&Attach::Nothing).await {
            tracing::error!(endpoint = seat.label(), why, "an open service cannot be served");
        }
        tell::open(seat);
        loop {
            tokio::select! {
                order = seat.orders.recv() => match order {
                    Some(Order::Renewed(subject)) => {
                        seat.subject = subject;
                        break;
                    }
                    Some(Order::Report(_)) => {}
                    Some(Order::Removed) | None => return End::Removed,
                },
                Some(request) = seat.requests.recv() => no_keys(request),
            }
        }
        match seat.find().await {
            None => return End::Removed,
            Some(found) if found.auth != Auth::Open => return End::Changed,
            Some(_) => {}
        }
    }
}

/// A service cannot be looked at again now: says so, and when to try it anew.
fn look_again(seat: &Seat, error: &Error) -> Moment {
    tracing::warn!(endpoint = seat.label(), %error, "it cannot be looked at again; what is known stays");
    seat.clock().now() + calls::pause(error).unwrap_or(DESCRIBE_AGAIN)
}

/// Requests go where the service is now.
async fn follow(seat: &Seat, located: &Located) {
    if let Err(why) = seat.serve(&located.upstream).await {
        tracing::error!(endpoint = seat.label(), why, "where it is now cannot be served");
    }
}

/// What a service without keys answers to who wants one changed.
fn no_keys(request: Request) {
    let _nobody_waits = request.answer.send(Err(Refusal::NoKeys));
}

/// The endpoints of a service are gone: what is counted of them would say what was.
pub(super) fn forget(seat: &Seat) {
    for (name, _) in &seat.subject.endpoints {
        tell::forget(&seat.gate, name);
    }
}
