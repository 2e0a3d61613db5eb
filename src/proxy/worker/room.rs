//! Which of a worker's connections goes where descriptors run out; `proxy::descriptors` asks.

use std::time::Duration;

use super::Worker;

/// So often at most a client makes room: one that was told to go needs a moment.
const CLIENTS_GO_EVERY: Duration = Duration::from_millis(50);

impl Worker {
    /// There are too few descriptors to reach an upstream with. A connection that nobody uses goes: one to an upstream, else a
    /// client's that was answered for the last time, else the client's that has been idle longest.
    pub fn make_room(&self) {
        if self.backends.borrow().values().any(|backend| backend.let_one_go()) {
            return;
        }
        let now = self.now();
        self.shared.shortage.note(now);
        let connections = self.connections.borrow();
        if let Some((_, gone)) = connections.iter().find(|(_, connection)| connection.has_been_answered(now)) {
            gone.leash.cut();
            return;
        }
        if now.since(self.made_room.get()) >= CLIENTS_GO_EVERY {
            self.made_room.set(now);
            let resting =
                connections.iter().filter_map(|(_, connection)| Some((connection.rests_since()?, connection)));
            if let Some((_, longest)) = resting.min_by_key(|(since, _)| *since) {
                longest.leash.finish();
            }
        }
    }
}
