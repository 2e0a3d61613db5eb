//! The running mock's memory, shared by every listener: locks around the pure state, and the clock.
//!
//! No lock is held across an await. A service has a lock of its own, so that scoring does not wait for anything else.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
};

use anyhow::Context;

use super::{
    entra::claims,
    material::Material,
    setup::Setup,
    state::{
        Tick,
        counters::{Count, Counters},
        directory::Directory,
        faults::{Fate, Faults, Meeting, Target},
        role,
        service::Service,
    },
};
use crate::{
    clock::Clock,
    random,
    service_auth::{EntraRefusal, EntraTokens},
};

/// Shared by every listener.
#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) material: Material,
    clock: Clock,
    /// Milliseconds by which the mock's clock is off.
    offset: AtomicI64,
    directory: Mutex<Directory>,
    services: BTreeMap<String, Arc<Deployed>>,
    faults: Mutex<Faults>,
    /// Relaxed: a request that races with the order to misbehave may do either.
    misbehaves: AtomicBool,
    calls: Mutex<BTreeMap<Side, Counters>>,
    last_look: Mutex<u64>,
    bases: OnceLock<Bases>,
}

/// Where everything listens.
#[derive(Debug, Clone)]
pub(super) struct Bases {
    pub(super) entra: String,
    pub(super) entra_tls: Option<String>,
    pub(super) arm: String,
    pub(super) arm_tls: Option<String>,
    pub(super) imds: String,
    pub(super) admin: String,
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Entra,
    Arm,
    Mms,
    Imds,
}

/// A service and its addresses.
#[derive(Debug)]
pub(super) struct Deployed {
    pub(super) name: String,
    service: Mutex<Service>,
    /// The scoring URI, then one for each front end. Set before anything is served.
    pub(super) uris: OnceLock<Vec<String>>,
}

impl Deployed {
    pub(super) fn lock(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that the control plane tells.
    pub(super) fn scoring_uri(&self) -> &str {
        self.uris.get().and_then(|uris| uris.first()).map_or("", String::as_str)
    }
}

impl World {
    pub(super) fn new(mut setup: Setup, material: Material, clock: Clock) -> anyhow::Result<Self> {
        let mut services = BTreeMap::new();
        let unix = clock.unix_seconds();
        for one in &mut setup.services {
            let tick = Tick { now: clock.now(), unix, random: bytes()? };
            let service = Service::new(one.clone(), &tick, &bytes()?, &bytes()?);
            // What was made now comes back with a reset.
            one.primary_key = Some(service.auth.keys.primary.clone());
            one.secondary_key = Some(service.auth.keys.secondary.clone());
            let deployed = Deployed { name: one.name.clone(), service: Mutex::new(service), uris: OnceLock::new() };
            services.insert(one.name.to_ascii_lowercase(), Arc::new(deployed));
        }
        Ok(Self {
            directory: Mutex::new(Directory::new(&setup)),
            setup,
            material,
            clock,
            offset: AtomicI64::new(0),
            services,
            faults: Mutex::default(),
            misbehaves: AtomicBool::new(false),
            calls: Mutex::default(),
            last_look: Mutex::new(0),
            bases: OnceLock::new(),
        })
    }

    /// Tells where everything listens, once, before anything is served.
    pub(super) fn settle_bases(&self, bases: Bases) {
        // A second call would come from this crate alone, and changes nothing.
        let _ = self.bases.set(bases);
    }

    pub(super) fn bases(&self) -> Option<&Bases> {
        self.bases.get()
    }

    /// The moment, with fresh randomness.
    ///
    /// # Errors
    /// Where the operating system gives none.
    pub(super) fn tick(&self) -> std::io::Result<Tick> {
        Ok(Tick { random: random::bytes()?, ..self.moment() })
    }

    /// The moment alone, for what needs no randomness.
    pub(super) fn moment(&self) -> Tick {
        let unix = self.clock.unix_millis().saturating_add_signed(self.offset.load(Relaxed)) / 1_000;
        Tick { now: self.clock.now(), unix, random: [0; 32] }
    }

    /// Unix milliseconds of the machine's clock, which `PUT /clock` does not shift: what `GET /seen` counts by.
    pub(super) fn real_millis(&self) -> u64 {
        self.clock.unix_millis()
    }

    /// Shifts the mock's clock, against the machine's. Relaxed: nothing else goes with it.
    pub(super) fn shift_clock(&self, millis: i64) {
        self.offset.store(millis, Relaxed);
    }

    pub(super) fn offset_millis(&self) -> i64 {
        self.offset.load(Relaxed)
    }

    pub(super) fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the faults.
    pub(super) fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults();
        change(&mut faults);
        self.misbehaves.store(!faults.is_empty(), Relaxed);
    }

    /// What becomes of a request.
    pub(super) fn fate(&self, request: &Meeting<'_>) -> Fate {
        if !self.misbehaves.load(Relaxed) {
            return Fate::default();
        }
        self.faults().meet(request)
    }

    /// Whether a side takes no connections.
    pub(super) fn is_down(&self, target: Target, service: Option<&str>, front_end: Option<usize>) -> bool {
        self.misbehaves.load(Relaxed) && self.faults().is_down(target, service, front_end)
    }

    /// By name, which is a path segment and so has no case.
    pub(super) fn service(&self, name: &str) -> Option<&Arc<Deployed>> {
        self.services.get(&name.to_ascii_lowercase())
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<Deployed>> {
        self.services.values()
    }

    pub(super) fn count_call(&self, side: Side, call: &'static str) {
        let at = self.real_millis();
        self.calls().entry(side).or_default().add(at, [Count::Call(call)]);
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, BTreeMap<Side, Counters>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment of a look, different from that of every other.
    pub(super) fn look(&self) -> u64 {
        let mut last = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        *last = self.real_millis().max(last.saturating_add(1));
        *last
    }

    /// Everything as it was at start, but for addresses and Entra's keys.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub(super) fn reset(&self) -> anyhow::Result<()> {
        self.shift_clock(0);
        self.change_faults(Faults::clear);
        *self.directory() = Directory::new(&self.setup);
        self.calls().clear();
        for setup in &self.setup.services {
            if let Some(deployed) = self.service(&setup.name) {
                let tick = self.tick()?;
                *deployed.lock() = Service::new(setup.clone(), &tick, &bytes()?, &bytes()?);
            }
        }
        Ok(())
    }
}

fn bytes() -> anyhow::Result<[u8; 32]> {
    random::bytes().context("the operating system gave no random bytes")
}

/// Entra's tokens at a front end.
impl EntraTokens for World {
    fn check(&self, token: &str, unix: u64) -> Result<(), EntraRefusal> {
        let holder =
            claims::check(self, token, unix, claims::is_scoring_audience).map_err(|refusal| match refusal {
                claims::Refused::Malformed => EntraRefusal::Malformed,
                claims::Refused::Foreign => EntraRefusal::Foreign,
                claims::Refused::Expired => EntraRefusal::Expired,
                claims::Refused::Audience => EntraRefusal::WrongAudience,
            })?;
        let may = self.directory().role(&holder.object_id).permits(role::ONLINE_SCORE);
        if may { Ok(()) } else { Err(EntraRefusal::NoRole) }
    }
}
