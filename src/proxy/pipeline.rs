//! The table of contents of the proxy: one request, from its head to its answer.

use std::rc::Rc;

use http::{Method, Version};

use super::{
    answer::Outcome,
    auth::Reason,
    body::CallerBody,
    connection::Connection,
    decide::decide,
    eviction::Claim,
    exchange::{Deadlines, Exchange, Logged, Watched},
    forward::Forwarding,
    head::RequestHead,
    headers::{survey::Survey, trace},
    limit,
    reject::Reject,
    respond::{Manner, respond},
    trail,
    view::{EndpointView, View},
    worker::Worker,
};
use crate::{
    clock::Tick,
    snapshot::{Access, Snapshot},
};

/// Answers a request: by its upstream, or by ourselves. Never fails: every failure is an answer.
pub async fn handle(worker: &Rc<Worker>, connection: &Rc<Connection>, head: &RequestHead, body: CallerBody) -> Outcome {
    let tick = worker.tick();
    let view = worker.view();
    let survey = Survey::of(&head.fields);
    body.begin(head.version, &survey);
    let request_id = trace::request_id(survey.request_id, || u128::from(worker.dice()) << 64 | u128::from(tick.dice));
    let exchange = Exchange::begin(worker, connection, request_id, deadlines(&view.snapshot), tick.now);
    exchange.0.converses.set(survey.is_grpc() && head.version == Version::HTTP_2);
    judge(worker, connection, (head, &survey), body, exchange, (view, tick)).await
}

/// Judges a request by a view, and does what comes of it.
async fn judge(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    (head, survey): (&RequestHead, &Survey<'_>),
    body: CallerBody,
    exchange: Watched,
    (view, tick): (Rc<View>, Tick),
) -> Outcome {
    let manner = |allow| Manner { grpc: survey.is_grpc(), is_head: head.method == Method::HEAD, allow, limited: None };

    let listener = view.snapshot.listeners.iter().position(|listener| listener.id == connection.listener);
    let retired = if listener.is_none() { worker.policy(connection.listener) } else { None };
    let policy = listener.and_then(|at| view.snapshot.listeners.get(at)).or(retired.as_ref());
    let decision = match policy {
        Some(_) if worker.overloaded() => {
            worker.count_limit("memory");
            Err(Reject::Overloaded.into())
        }
        Some(policy) => decide(&view.snapshot, policy, head, survey, &connection.peer, worker.tokens(), tick),
        None => Err(Reject::Draining.into()),
    };
    let route = match &decision {
        Ok(plan) => Some(plan.route),
        Err(refusal) => refusal.route,
    };
    let record = &exchange.0.record;
    record.meter.replace(listener.and_then(|at| worker.meter(&view, at, route.map(|route| route.index))));
    if view.snapshot.access != Access::Off {
        let plan = decision.as_ref().ok();
        let caller = plan.and_then(|plan| view.caller(plan.caller)).cloned();
        let subject = plan.and_then(|plan| plan.subject.as_ref());
        record.logged.replace(Some(Logged {
            method: head.method.clone(),
            path: head.path().into(),
            caller,
            subject: subject.map(|subject| subject.as_str().into()),
            upstream: None,
        }));
    }

    match decision {
        // Where it is, hence what its path is there, is not known yet: judged anew once it is.
        Ok(plan) if view.endpoint(plan.forward.endpoint).is_some_and(EndpointView::is_nowhere) => {
            let id = view.endpoint(plan.forward.endpoint).map(|endpoint| endpoint.local.id());
            exchange.0.limit_request(plan.forward.timeout);
            match trail::await_service(&exchange.0, id).await {
                Ok(()) => {
                    let now = (worker.view(), worker.tick());
                    Box::pin(judge(worker, connection, (head, survey), body, exchange, now)).await
                }
                Err(reject) => refuse(reject, None, manner(None), exchange),
            }
        }
        Ok(plan) => {
            match limit::admit(&view.snapshot, &plan, tick) {
                Ok(held) => drop(exchange.0.held.replace(held)),
                Err(limited) => {
                    worker.count_limit(limited.kind.label());
                    let manner = Manner { limited: Some(limited), ..manner(None) };
                    return refuse(limited.reject(), None, manner, exchange);
                }
            }
            exchange.0.limit_request(plan.forward.timeout);
            if let Some(claim) = Claim::of(&view.snapshot, plan.caller, plan.forward, survey, connection) {
                // A new exchange has none.
                let _ = exchange.0.claim.set(claim);
            }
            let trusted = policy.is_some_and(|policy| policy.trusts(connection.remote.get()));
            let forwarding = Forwarding { view: &view, plan, head, survey, trusted };
            match forwarding.run(&exchange.0, body).await {
                Ok(reached) => reached.outcome(exchange),
                Err(reject) => refuse(reject, None, manner(None), exchange),
            }
        }
        Err(refusal) => {
            match refusal.reject {
                Reject::RequestTooLarge => worker.count_limit("body"),
                Reject::RequestHeadTooLarge if head.fields.len() > view.snapshot.limits.fields => {
                    worker.count_limit("fields")
                }
                Reject::RequestHeadTooLarge => worker.count_limit("head"),
                _ => {}
            }
            let lists = matches!(refusal.reject, Reject::MethodNotAllowed | Reject::LastHop);
            let allow = refusal.route.filter(|_| lists).map(|route| route.allow.clone());
            if let Some(issuer) = refusal.renew.and_then(|at| view.snapshot.callers.get(at)?.proof.issuer()) {
                issuer.notify_one();
            }
            refuse(refusal.reject, refusal.reason, manner(allow), exchange)
        }
    }
}

fn refuse(reject: Reject, reason: Option<Reason>, manner: Manner, exchange: Watched) -> Outcome {
    let route = exchange.0.record.meter.borrow().as_ref().map(|meter| std::sync::Arc::clone(&meter.route));
    exchange
        .0
        .worker
        .metrics()
        .caller_rejections
        .with_label_values(&[route.as_deref().unwrap_or("none"), reason.map_or(reject.code(), Reason::label)])
        .inc();
    Outcome::Answer(respond(reject, manner, exchange))
}

fn deadlines(snapshot: &Snapshot) -> Deadlines {
    let timeouts = &snapshot.timeouts;
    Deadlines {
        request: timeouts.request,
        response_head: timeouts.response_head,
        stall: timeouts.stall,
        stream_idle: timeouts.stream_idle,
    }
}
