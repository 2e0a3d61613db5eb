//! The addresses of upstreams that are given by name: looked up before they are needed, again when their time is over, and kept
//! where a look-up fails.
//!
//! One task per name, on the control plane's runtime; what it finds is published, and reaches the workers' pools with the next
//! snapshot. A request never waits for a name but for the very first answer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::task::JoinHandle;

use super::{admin::BoxFuture, gate::Gate};
use crate::config::model::Config;

/// Bounds of how long an answer is taken to be good, whatever its time to live says: an answer for no time at all must not become
/// a flood of questions, and a file of hosts has no times.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// Name servers and search list.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Between two attempts that failed: doubled each time, from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Addresses, in the order they came; never empty.
    pub addresses: Vec<IpAddr>,
    /// How long that is good for.
    pub ttl: Duration,
}

/// Looks names up.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, or why there are none.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Resolved, String>>;
}

/// The name servers of `/etc/resolv.conf` with its search list, and `/etc/hosts` before them. Both files are read anew for each
/// look-up: they change under long-lived processes, and look-ups are rare.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

impl Resolve for SystemNames {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Resolved, String>> {
        Box::pin(async move {
            let mut builder = builder()?;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.options_mut().cache_size = 0;
            let resolver = builder.build().map_err(|error| error.to_string())?;
            let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
            let addresses: Vec<IpAddr> = found.iter().collect();
            if addresses.is_empty() {
                return Err("the name has no address".to_owned());
            }
            let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or(0);
            Ok(Resolved { addresses, ttl: Duration::from_secs(ttl.into()) })
        })
    }
}

/// Without the file the server of this machine is asked, as resolv.conf(5) has it; `localhost` and what is in `/etc/hosts` need none.
fn builder() -> Result<ResolverBuilder<TokioRuntimeProvider>, String> {
    if Path::new(RESOLV_CONF).exists() {
        return TokioResolver::builder_tokio().map_err(|error| format!("{RESOLV_CONF}: {error}"));
    }
    let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
    let config = ResolverConfig::from_name_servers(vec![here]);
    Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
}

/// The names that are looked after.
pub struct Names {
    resolver: Arc<dyn Resolve>,
    tasks: HashMap<String, JoinHandle<()>>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("names", &self.tasks.keys()).finish_non_exhaustive()
    }
}

impl Names {
    /// Looks after nothing yet.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, tasks: HashMap::new() }
    }

    /// Looks after the names of a configuration, and no others. What is found goes to `gate`.
    pub fn follow(&mut self, config: &Config, gate: &Weak<Gate>) {
        let hosts = config.endpoints.iter().flat_map(|endpoint| &endpoint.upstreams).map(|url| url.host.as_str());
        let names: Vec<&str> = hosts.filter(|host| host.parse::<IpAddr>().is_err()).collect();
        self.tasks.retain(|name, task| {
            let wanted = names.contains(&name.as_str());
            if !wanted {
                task.abort();
            }
            wanted
        });
        for name in names {
            if !self.tasks.contains_key(name) {
                let task = follow(name.to_owned(), Arc::clone(&self.resolver), Weak::clone(gate));
                self.tasks.insert(name.to_owned(), tokio::spawn(task));
            }
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn follow(name: String, resolver: Arc<dyn Resolve>, gate: Weak<Gate>) {
    let mut known: Option<Vec<IpAddr>> = None;
    let mut failures = 0;
    loop {
        let found = resolver.resolve(&name).await;
        let Some(gate) = gate.upgrade() else { return };
        let wait = match found {
            Ok(Resolved { mut addresses, ttl }) => {
                failures = 0;
                // Name servers turn the order with each answer.
                addresses.sort_unstable();
                if known.as_ref() != Some(&addresses) {
                    tracing::info!(name, ?addresses, before = ?known, "addresses of an upstream");
                    gate.adopt_addresses(&name, &addresses).await;
                    known = Some(addresses);
                }
                ttl.clamp(SHORTEST, LONGEST)
            }
            Err(error) => {
                failures += 1;
                gate.count_name_failure(&name);
                if failures == 1 {
                    let kept = known.is_some();
                    tracing::warn!(
                        name,
                        error,
                        kept,
                        "an upstream's name cannot be looked up; the last addresses are kept"
                    );
                }
                if known.is_none() {
                    // Nobody need wait for what is not there.
                    gate.adopt_addresses(&name, &[]).await;
                }
                retry_after(failures)
            }
        };
        drop(gate);
        tokio::time::sleep(wait).await;
    }
}

fn retry_after(failures: u32) -> Duration {
    let (first, most) = RETRY;
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_spaced_ever_wider() {
        let seconds: Vec<u64> = (1..8).map(|failures| retry_after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }
}
