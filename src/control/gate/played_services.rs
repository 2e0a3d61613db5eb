//! Services that scoregate plays, as the gate publishes them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::MutexGuard;

use super::Gate;
use crate::{
    config::model::Config,
    control::{
        played::{NotChanged, Operation, Played},
        publish::{self, Publisher},
        threads::SEEN_PATIENCE,
    },
    service_auth::{Regenerate, Slot},
    snapshot::Snapshot,
};

/// How often it is looked whether a signing key has signed for long enough.
const SIGNING_LOOK: Duration = Duration::from_secs(60);

impl Gate {
    /// The services, to be asked about.
    pub async fn played(&self) -> MutexGuard<'_, Played> {
        self.played.lock().await
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshots.load()
    }

    /// Plays the services of a configuration that is about to be published.
    pub(super) async fn play(&self, publisher: &mut Publisher, config: &Config) -> anyhow::Result<()> {
        let unix = self.shared.clock.unix_seconds();
        let config = config.clone();
        publisher.play(self.off_this_thread(move |played| played.adopt(&config, unix)).await??);
        Ok(())
    }

    /// Files are read and written there.
    async fn off_this_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Played) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut played = Arc::clone(&self.played).lock_owned().await;
        Ok(tokio::task::spawn_blocking(move || work(&mut played)).await?)
    }

    /// Changes one key of a service. When this returns every worker judges by it, or has been told to.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn regenerate_played(self: &Arc<Self>, name: &str, wanted: Regenerate) -> Result<Operation, NotChanged> {
        let slot = wanted.slot;
        // Goes on if whoever asked goes away: what is kept is published.
        let (gate, service) = (Arc::clone(self), name.to_owned());
        let changed = tokio::spawn(async move {
            let mut publisher = gate.publisher.lock().await;
            let unix = gate.shared.clock.unix_seconds();
            let work = move |played: &mut Played| {
                played.regenerate(&service, wanted, unix).map(|operation| (operation, played.faces()))
            };
            let (operation, faces) = gate.off_this_thread(work).await.map_err(NotChanged::NotKept)??;
            Ok((operation, publisher.replay(faces)))
        });
        let (operation, generation) =
            changed.await.unwrap_or_else(|panic| Err(NotChanged::NotKept(anyhow::Error::from(panic))))?;
        let slot = match slot {
            Slot::Primary => "primary",
            Slot::Secondary => "secondary",
        };
        tracing::info!(service = name, slot, generation, "a key of a service was regenerated");
        if publish::await_seen(&self.workers, generation, SEEN_PATIENCE).await.is_err() {
            tracing::warn!(service = name, "a worker did not take a new key up in time");
        }
        Ok(operation)
    }

    /// Has tokens signed by another key now and then, as long as the gate lives.
    pub(super) async fn keep_signing(me: Weak<Self>) {
        loop {
            tokio::time::sleep(SIGNING_LOOK).await;
            let Some(gate) = me.upgrade() else { return };
            let mut publisher = gate.publisher.lock().await;
            let unix = gate.shared.clock.unix_seconds();
            let rotated = gate.off_this_thread(move |played| played.rotate_signing_keys(unix).then(|| played.faces()));
            match rotated.await {
                Ok(Some(faces)) => {
                    publisher.replay(faces);
                    publish::wake(&gate.workers);
                }
                Ok(None) => {}
                Err(error) => tracing::error!("signing keys of services: {error:#}"),
            }
        }
    }
}
