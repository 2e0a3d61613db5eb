//! Requests of the day, kept in the state directory: a restart within the day goes on counting. Each process counts for itself.
//!
//! Written every few seconds and at the end: what a crash loses is what came in since.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::durable;
use crate::proxy::limit::{Limiter, quota::Used};

const FILE: &str = "quotas.json";
const LARGEST: u64 = 16 << 20;
/// How often what changed is written.
pub const WRITTEN: Duration = Duration::from_secs(5);

/// Limiter by what they are of: `caller team-a`, `route score`.
pub type ByName = Vec<(String, Arc<Limiter>)>;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    version: u32,
    used: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Days since 1970.
    day: u64,
    count: u64,
}

/// Where they are kept.
#[derive(Debug)]
pub struct Quotas {
    dir: PathBuf,
    written: Document,
}

impl Quotas {
    /// Goes on from what is kept: it is added to what has been used since the start.
    #[must_use]
    pub fn resume(dir: PathBuf, limits: &ByName) -> Self {
        let kept = durable::read(&dir.join(FILE), LARGEST)
            .and_then(|text| serde_json::from_slice::<Document>(&text).map_err(io::Error::from));
        let written = match kept {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Document::default(),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "{FILE} cannot be read: the quotas of today begin anew");
                Document::default()
            }
        };
        for (name, limits) in limits {
            if let (Some(quota), Some(entry)) = (limits.quota(), written.used.get(name)) {
                quota.add(Used { day: entry.day, count: entry.count });
            }
        }
        Self { dir, written }
    }

    /// Writes what changed.
    pub fn write(&mut self, limits: &ByName) {
        let used = limits.iter().filter_map(|(name, limits)| {
            let Used { day, count } = limits.quota()?.used();
            Some((name.clone(), Entry { day, count }))
        });
        let document = Document { version: 1, used: used.collect() };
        if document == self.written || (document.used.is_empty() && self.written.used.is_empty()) {
            return;
        }
        let text = serde_json::to_vec_pretty(&document).unwrap_or_default();
        match durable::write(&self.dir, FILE, &text) {
            Ok(()) => self.written = document,
            Err(error) => tracing::warn!(dir = %self.dir.display(), %error, "{FILE} cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::limit::Allowed;

    #[test]
    fn a_restart_goes_on_counting_and_a_broken_file_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let limits = || {
            let allowed = Allowed { quota: Some(10), ..Allowed::default() };
            vec![("caller a".to_owned(), Arc::new(Limiter::new(allowed, 1, None)))]
        };
        let first = limits();
        let mut quotas = Quotas::resume(dir.path().to_owned(), &first);
        quotas.write(&Vec::new());
        assert!(!dir.path().join(FILE).exists(), "nothing to keep");
        first[0].1.quota().unwrap().add(Used { day: 7, count: 3 });
        quotas.write(&first);
        let second = limits();
        let _resumed = Quotas::resume(dir.path().to_owned(), &second);
        assert_eq!(second[0].1.quota().unwrap().used(), Used { day: 7, count: 3 });
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let third = limits();
        let _anew = Quotas::resume(dir.path().to_owned(), &third);
        assert_eq!(third[0].1.quota().unwrap().used(), Used::NOTHING);
    }
}
