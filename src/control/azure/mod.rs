//! Endpoints that are services of Azure's: found, and given what their requests need, for as long as they are configured.
//!
//! `run` starts [`attend`] and lives no longer than it. Each service has a task of its own, whatever the number of endpoints that it is,
//! so that one service's trouble delays no other's; the task survives every reload that keeps the service. It looks for the service
//! (`seat`) and then drives its credential (`driver`). What it learns reaches the data plane through [`Gate::publish_found`] and
//! [`Gate::attach`] and in no other way; what the data plane sees comes back as reports. The seams are [`Connect`] on the one side and
//! [`Gate`] on the other.

mod backoff;
mod clients;
mod driver;
mod found;
mod probe;
mod seat;

use std::{collections::HashMap, sync::Arc};

use anyhow::bail;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub(in crate::control) use self::probe::Front;
use self::seat::{End, Order, Seat, Subject};
pub use self::{
    clients::{Clients, Connect},
    found::{Credential, Found, find, upstream},
};
use super::{desk::Handle, gate::Gate, journals::Journals};
use crate::{
    azure::{service::Name, workspace::Place},
    config::model::Config,
    ids::EndpointId,
    proxy::credential::Report,
};

/// What makes a service the same one after a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    name: Name,
}

/// A service that is looked after.
struct Attended {
    orders: mpsc::UnboundedSender<Order>,
    handle: Handle,
}

/// Looks after every service, until the gate ends.
///
/// # Errors
/// Where a task ended, which must live as long as its service.
pub async fn attend(gate: Arc<Gate>, mut azure: impl Connect, journals: Journals) -> anyhow::Result<()> {
    let mut reports = gate.take_reports();
    let mut tasks = JoinSet::new();
    let mut attended: HashMap<Key, Attended> = HashMap::new();
    loop {
        let config = gate.in_force();
        let services = services(&config, &mut azure);
        azure.forget_all_but(&config);
        for (key, known) in &attended {
            if !services.iter().any(|(wanted, _)| wanted == key) {
                // It ends by itself, at once or when its rotation has.
                let _ended = known.orders.send(Order::Removed);
            }
        }
        let mut handles = HashMap::new();
        let mut ways: HashMap<EndpointId, mpsc::UnboundedSender<Order>> = HashMap::new();
        for (key, subject) in services {
            let names: Vec<String> = subject.endpoints.iter().map(|(name, _)| name.clone()).collect();
            let renewed = attended.get(&key).map(|known| known.orders.send(Order::Renewed(subject.clone())));
            if !matches!(renewed, Some(Ok(()))) {
                let (known, seat) = seat(&gate, &journals, subject);
                attended.insert(key.clone(), known);
                tasks.spawn(look_after(seat, key.clone()));
            }
            let Some(known) = attended.get(&key) else { continue };
            for name in names {
                if let Some(id) = gate.endpoint_id(&name).await {
                    ways.insert(id, known.orders.clone());
                }
                handles.insert(name, known.handle.clone());
            }
        }
        gate.desk().seat(handles);
        loop {
            tokio::select! {
                () = gate.config_changed.notified() => break,
                report = hear(&mut reports) => {
                    let (Report::Rejected { endpoint, .. } | Report::Accepted { endpoint, .. } | Report::Exhausted { endpoint, .. }) = report;
                    if let Some(orders) = ways.get(&endpoint) {
                        let _ended = orders.send(Order::Report(report));
                    }
                }
                Some(ended) = tasks.join_next() => match ended {
                    Ok(key) => {
                        // It may have been put back while it ended: then it begins anew.
                        if attended.get(&key).is_some_and(|known| known.orders.is_closed()) {
                            attended.remove(&key);
                        }
                        break;
                    }
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => bail!("the task that looks after a service ended: {error}"),
                },
            }
        }
    }
}

/// The services of a configuration, with the endpoints that are each.
fn services(config: &Config, azure: &mut impl Connect) -> Vec<(Key, Subject)> {
    let mut services: Vec<(Key, Subject)> = Vec::new();
    for endpoint in &config.endpoints {
        let Some(service) = &endpoint.service else { continue };
        let Some(workspace) = config.workspaces.iter().find(|workspace| workspace.name == service.workspace) else {
            continue;
        };
        let key = Key { place: workspace.place.clone(), name: service.name.clone() };
        let member = (endpoint.name.clone(), service.clone());
        if let Some((_, subject)) = services.iter_mut().find(|(known, _)| *known == key) {
            subject.endpoints.push(member);
        } else if let Some(plane) = azure.connect(config, service) {
            services.push((key, Subject { endpoints: vec![member], plane }));
        }
    }
    services
}

fn seat(gate: &Arc<Gate>, journals: &Journals, subject: Subject) -> (Attended, Seat) {
    let (orders, ordered) = mpsc::unbounded_channel();
    let (requests, requested) = mpsc::unbounded_channel();
    let (status, shown) = watch::channel(None);
    let attended = Attended { orders, handle: Handle { requests, status: shown } };
    let (gate, journals) = (Arc::clone(gate), journals.clone());
    (attended, Seat { gate, journals, orders: ordered, requests: requested, status, subject })
}

/// Looks after one service until it is gone.
async fn look_after(mut seat: Seat, key: Key) -> Key {
    while let Some(located) = seat.find().await {
        match Box::pin(driver::drive(&mut seat, located)).await {
            End::Removed => break,
            End::Changed => tracing::info!(endpoint = seat.label(), "it has become another service"),
        }
    }
    driver::forget(&seat);
    key
}

/// What the data plane says next. Never, where somebody else hears it.
async fn hear(reports: &mut Option<mpsc::Receiver<Report>>) -> Report {
    match reports {
        Some(receiver) => match receiver.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
