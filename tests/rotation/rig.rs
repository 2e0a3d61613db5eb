//! A gate that serves one service of the embedded Azure, with a state directory, and requests to it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use scoregate::{
    azure::{
        http::{Attempts, Http, Proxies},
        service::{Kind, Name},
    },
    clock::Clock,
    config::model::{self, Config, Credential, Service, Slot, Upkeep},
    control::{
        admin::{
            Operations,
            report::{EndpointStatus, OperationReport, RotationStatus},
        },
        azure::{self, Clients},
        desk::{Granted, Run, Wish},
        journals::Journals,
        state,
    },
    rotation::{operation::State, refusal::Refusal, rules::Rules},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    support::{
        client::{once, post},
        eventually,
        gate::{self, TestGate},
        in_time,
    },
    world::World,
};

pub const BODY: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#;

/// Times that a test can wait for, in the proportions of the defaults.
pub fn quick() -> Rules {
    let millis = Duration::from_millis;
    Rules {
        look: Duration::from_secs(3_600),
        listkeys_interval: millis(500),
        adopt_gap: millis(100),
        settle: millis(400),
        min_gap: Duration::ZERO,
        drain_timeout: Duration::from_secs(5),
        read_gap: millis(100),
        read_timeout: Duration::from_secs(10),
        probe_successes: 9,
        probe_spread: millis(600),
        probe_fresh: Duration::from_secs(60),
        probe_timeout: Duration::from_secs(20),
        ..Rules::default()
    }
}

/// A gate, and the task that drives its services.
pub struct Rig {
    pub gate: TestGate,
    attending: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.attending.abort();
    }
}

pub fn service(name: &str, kind: Kind, rules: Rules) -> Service {
    Service {
        workspace: "ml".into(),
        name: Name { name: name.into(), kind },
        auth: None,
        active: None,
        plaintext: false,
        upkeep: Upkeep { rules, ..Upkeep::default() },
    }
}

pub fn endpoint(world: &World, name: &str, kind: Kind, rules: Rules) -> model::Endpoint {
    let ca = world.ca();
    let mut endpoint = gate::endpoint(name, "127.0.0.1:1".parse().unwrap());
    endpoint.service = Some(service(name, kind, rules));
    endpoint.upstreams.clear();
    endpoint.credential = Credential::OfService;
    endpoint.connect.ca = Some((ca.roots, ca.digest));
    endpoint
}

/// One endpoint and one route for one service, by its name.
pub fn config(world: &World, name: &str, kind: Kind, rules: Rules) -> Config {
    let mut config = gate::config("127.0.0.1:1".parse().unwrap());
    config.identities = vec![world.identity(world.by_secret())];
    config.workspaces = vec![model::Workspace { name: "ml".into(), identity: "default".into(), place: world.place() }];
    config.endpoints = vec![endpoint(world, name, kind, rules)];
    config.routes = vec![gate::route(&format!("/{name}"), name, &["team-a"])];
    config
}

/// Journals in a directory, as `run` opens them.
pub fn journals(dir: &Path) -> Journals {
    let dir = state::first_usable(&[dir.to_owned()]).unwrap();
    let salt = state::salt_of(&dir).unwrap();
    Journals::new(Ok(dir), salt)
}

impl Rig {
    pub fn start(config: Config, journals: Journals) -> Self {
        Self::start_with(config, journals, Clock::system())
    }

    pub fn start_with(config: Config, journals: Journals, clock: Clock) -> Self {
        let gate = TestGate::start_with(config, clock.clone());
        let http = Http::new(Proxies::none(), clock, Attempts::ONE);
        let attending = tokio::spawn(azure::attend(Arc::clone(&gate.gate), Clients::new(http), journals));
        Self { gate, attending }
    }

    /// As a process that is gone: its locks are free when this returns.
    pub async fn kill(self, state: &Path) {
        self.attending.abort();
        let locks = std::fs::read_dir(state).unwrap().map(|file| file.unwrap().path());
        let locks: Vec<PathBuf> = locks.filter(|path| path.extension().is_some_and(|kind| kind == "lock")).collect();
        eventually("the drivers end", || {
            self.attending.is_finished()
                && locks.iter().all(|lock| std::fs::File::open(lock).is_ok_and(|file| file.try_lock().is_ok()))
        })
        .await;
        self.gate.gate.drop_everything().await;
    }

    pub fn status(&self, endpoint: &str) -> EndpointStatus {
        self.gate.gate.status().endpoints.into_iter().find(|one| one.name == endpoint).unwrap()
    }

    pub async fn ready(&self, endpoint: &str) {
        eventually("it is found", || self.status(endpoint).ready).await;
    }

    pub fn rotation(&self, endpoint: &str) -> RotationStatus {
        self.status(endpoint).service.unwrap().rotation.unwrap()
    }

    /// Both keys are read and accepted.
    pub async fn settled(&self, endpoint: &str) {
        use scoregate::rotation::journal::Standing;
        eventually("both keys are settled", || {
            let EndpointStatus { ready: true, service, .. } = self.status(endpoint) else { return false };
            let rotation = service.and_then(|service| service.rotation);
            rotation.is_some_and(|rotation| {
                rotation.slots.iter().all(|slot| slot.standing == Standing::Settled && !slot.suspect)
            })
        })
        .await;
    }

    pub fn active(&self, endpoint: &str) -> Slot {
        self.rotation(endpoint).slots.iter().find(|slot| slot.active).unwrap().slot
    }

    pub async fn ask(&self, endpoint: &str, wish: Wish, run: Run) -> Result<Granted, Refusal> {
        in_time("an answer", self.gate.gate.change_keys(endpoint, wish, run)).await
    }

    /// Regenerates a key, and waits for the end.
    pub async fn regenerate(&self, endpoint: &str, slot: Option<Slot>) -> State {
        let wish = Wish::Regenerate { slot, set_key: None };
        match self.ask(endpoint, wish, Run::Wet).await {
            Ok(Granted::Begun(id)) => self.ended(endpoint, &format!("{endpoint}-{}", id.0)).await.state,
            other => panic!("{other:?}"),
        }
    }

    pub fn operation(&self, endpoint: &str, id: &str) -> Option<OperationReport> {
        self.rotation(endpoint).operations.into_iter().find(|operation| operation.id == id)
    }

    pub async fn ended(&self, endpoint: &str, id: &str) -> OperationReport {
        let find = || self.operation(endpoint, id).filter(OperationReport::is_over);
        tokio::time::timeout(Duration::from_secs(60), async {
            while find().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{id} goes on: {:?}", self.rotation(endpoint)));
        find().unwrap()
    }

    pub async fn score(&self, path: &str) -> u16 {
        in_time("score", once(self.gate.address("public"), post(path, BODY))).await.status().as_u16()
    }

    pub fn violations(&self) -> f64 {
        let text = self.gate.metrics();
        let lines = text.lines().filter(|line| line.starts_with("scoregate_invariant_violations_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Requests that go on until they are stopped, and what became of them.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<BTreeMap<u16, usize>>>,
    senders: Vec<JoinHandle<()>>,
}

impl Traffic {
    pub fn start(rig: &Rig, path: &'static str, senders: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::<Mutex<BTreeMap<u16, usize>>>::default();
        let address = rig.gate.address("public");
        let senders = (0..senders).map(|_| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    let answer = in_time("an answer", once(address, post(path, BODY))).await;
                    *counts.lock().unwrap().entry(answer.status().as_u16()).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        let senders = senders.collect();
        Self { stop, counts, senders }
    }

    pub fn answered(&self) -> usize {
        self.counts.lock().unwrap().values().sum()
    }

    /// A number of further requests is answered.
    pub async fn goes_on(&self, further: usize) {
        let target = self.answered() + further;
        eventually("traffic goes on", || self.answered() >= target).await;
    }

    /// Stops it; nothing but successes may have come of it. How many.
    pub async fn stop_all_well(mut self) -> usize {
        self.stop.store(true, Relaxed);
        for sender in self.senders.drain(..) {
            sender.await.unwrap();
        }
        let counts = self.counts.lock().unwrap().clone();
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [200], "{counts:?}");
        counts[&200]
    }
}

pub async fn outsider(world: &World, service: &str, key: &str) {
    world.order(http::Method::POST, &format!("/services/{service}/regenerate"), json!({ "key": key })).await;
}

pub async fn seen(world: &World, service: &str) -> Value {
    world.order(http::Method::GET, "/seen", json!({})).await["services"][service].clone()
}

/// How often we regenerated a key of this v1 service.
pub async fn regenerated(world: &World) -> u64 {
    world.seen("mms", "regenerateKeys").await
}

pub fn state_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    (dir, path)
}
