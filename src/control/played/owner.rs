//! What the owner of a played service may ask over the admin socket, without being one of its managers: whoever can open that socket can
//! change the configuration too.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{NotChanged, Played};
use crate::{
    control::gate::Gate,
    service_auth::{AuthMode, Regenerate, Slot},
};

/// What is asked of a service.
#[derive(Debug, Clone)]
pub enum Order {
    /// What tells its keys apart; `reveal`: and their values.
    Show {
        /// Whether values are wanted.
        reveal: bool,
    },
    /// Another key in a slot. Answered with the value where the service made it up, for once.
    Regenerate(Regenerate),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKeys {
    /// Its name.
    pub service: String,
    /// Both slots.
    pub slots: Vec<ServiceKey>,
}

/// A key of a service.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKey {
    /// `primary` or `secondary`.
    pub slot: String,
    /// The beginning of its SHA-256, which is what is kept of it.
    pub sha256: String,
    /// Unix seconds at which it was made.
    pub made_unix: u64,
    /// The key itself, where it is asked for and can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceKey({} {})", self.slot, self.sha256)
    }
}

/// What is told of keys.
#[derive(Debug, Clone, Copy)]
enum Tell {
    Nothing,
    Kept,
    /// The value of one that was made just now, kept or not: nobody else knows it.
    Made(Slot),
}

impl Gate {
    /// Does what the owner of a service asks for.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn order_played(self: Arc<Self>, name: String, order: Order) -> Result<ServiceKeys, NotChanged> {
        let tell = match order {
            Order::Show { reveal: true } => Tell::Kept,
            Order::Show { reveal: false } => Tell::Nothing,
            Order::Regenerate(wanted) => {
                let slot = wanted.slot;
                let made = wanted.value.is_none();
                self.regenerate_played(&name, wanted).await?;
                if made { Tell::Made(slot) } else { Tell::Nothing }
            }
        };
        let played = self.played().await;
        let (config, _) = played.describe(&name).ok_or(NotChanged::NoService)?;
        if config.auth != AuthMode::Key {
            return Err(NotChanged::NoKeys);
        }
        let slots = Slot::BOTH.into_iter().filter_map(|slot| shown(&played, &name, slot, tell)).collect();
        drop(played);
        Ok(ServiceKeys { service: name, slots })
    }
}

fn shown(played: &Played, name: &str, slot: Slot, tell: Tell) -> Option<ServiceKey> {
    let key = played.key(name, slot)?;
    let told = match tell {
        Tell::Made(made) => made == slot,
        Tell::Kept => played.keeps_values(name),
        Tell::Nothing => false,
    };
    let why_not = match (&key.value, tell) {
        (Err(why), Tell::Kept) => Some(why.to_string()),
        (Ok(_), Tell::Kept) if !told => Some(super::kept::NotKept::NoSealKey.to_string()),
        _ => None,
    };
    Some(ServiceKey {
        slot: match slot {
            Slot::Primary => "primary".to_owned(),
            Slot::Secondary => "secondary".to_owned(),
        },
        sha256: key.digest.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect(),
        made_unix: key.made,
        key: key.value.as_ref().ok().filter(|_| told).map(|value| value.expose_text().to_owned()),
        why_not,
    })
}
