//! How many client connections the file descriptors of this process are good for.
//!
//! `publish` asks. Without a cap of its own a process that runs out of descriptors refuses callers that it had let in, because nothing
//! is left to reach their upstream with. Where they run out nonetheless, `proxy::descriptors` says what gives way.

use rustix::process::{Resource, getrlimit};

use crate::proxy::http1::pipe::DESCRIPTORS;

/// Descriptors for everything but traffic: listeners, the admin side, files, spares.
const RESERVE: u64 = 128;
/// Of the rest, the part that is left for connections to upstreams: most client connections are idle.
const UPSTREAMS: u64 = 8;

/// `wanted` connections, or as many as there are descriptors for, which is said.
#[must_use]
pub fn affordable(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let most = most(limit);
    if most < wanted {
        tracing::warn!(
            limits.max_connections = wanted,
            descriptors = limit,
            used = most,
            "more connections than this process has descriptors for: raise `ulimit -n` (systemd: LimitNOFILE=)"
        );
    }
    wanted.min(most)
}

fn most(limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let rest = limit.saturating_sub(RESERVE);
    usize::try_from(rest - rest / UPSTREAMS - rest / DESCRIPTORS).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room_for_one_and_never_for_more_than_the_limit() {
        assert_eq!(most(None), usize::MAX);
        assert_eq!(most(Some(0)), 1);
        assert_eq!(most(Some(1024)), 672);
        assert_eq!(affordable(1), 1);
    }
}
