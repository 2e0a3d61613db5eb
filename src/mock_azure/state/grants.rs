//! What people have allowed: authorisation codes, device codes and refresh tokens, until they are used or expire.

use std::collections::BTreeMap;

use super::Tick;
use crate::{digest::sha256, jwt::encode_base64url};

/// A code lives ten minutes.
const CODE_LIFETIME: u64 = 600;
/// A refresh token lives ninety days.
const REFRESH_LIFETIME: u64 = 90 * 86_400;
/// Grants of each kind that are kept.
const MAX_GRANTS: usize = 10_000;
/// Letters of a user code: none that is easily taken for another.
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What a client asked for, on a person's behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mock_azure) struct Asked {
    pub(in crate::mock_azure) client_id: String,
    /// Audience of the access token.
    pub(in crate::mock_azure) audience: String,
    /// Scopes as they are told back.
    pub(in crate::mock_azure) scope: String,
}

/// A code that a sign-in led to.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct Code {
    pub(in crate::mock_azure) asked: Asked,
    pub(in crate::mock_azure) redirect_uri: String,
    pub(in crate::mock_azure) nonce: Option<String>,
    pub(in crate::mock_azure) challenge: Option<Challenge>,
    expires: u64,
    used: bool,
}

/// RFC 7636.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mock_azure) enum Challenge {
    S256(String),
    Plain(String),
}

impl Challenge {
    fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::S256(challenge) => encode_base64url(&sha256(verifier.as_bytes())) == *challenge,
            Self::Plain(challenge) => verifier == challenge,
        }
    }
}

/// Why a code is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) enum BadCode {
    Unknown,
    Used,
    Expired,
    OtherClient,
    OtherRedirect,
    Verifier,
}

/// A device that waits for a person.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct Device {
    pub(in crate::mock_azure) user_code: String,
    asked: Asked,
    expires: u64,
    interval: u64,
    decision: Decision,
    last_poll: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) enum Decision {
    Pending,
    Approved,
    Declined,
    /// The tokens have been fetched.
    Done,
}

/// Why a device gets no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) enum Waiting {
    Pending,
    SlowDown,
    Declined,
    Expired,
    Unknown,
}

#[derive(Debug, Clone)]
struct Refresh {
    client_id: String,
    scope: String,
    audience: String,
    expires: u64,
}

/// Everything that was granted.
#[derive(Debug, Default)]
pub(in crate::mock_azure) struct Grants {
    codes: BTreeMap<String, Code>,
    devices: BTreeMap<String, Device>,
    refreshes: BTreeMap<String, Refresh>,
}

impl Grants {
    /// Makes a code.
    pub(in crate::mock_azure) fn authorize(
        &mut self,
        asked: Asked,
        redirect_uri: String,
        nonce: Option<String>,
        challenge: Option<Challenge>,
        tick: &Tick,
    ) -> String {
        let code = format!("0.{}", encode_base64url(&tick.random));
        let expires = tick.unix + CODE_LIFETIME;
        self.codes.retain(|_, code| code.expires + CODE_LIFETIME > tick.unix);
        bound(&mut self.codes);
        self.codes.insert(code.clone(), Code { asked, redirect_uri, nonce, challenge, expires, used: false });
        code
    }

    /// Takes a code in, once.
    pub(in crate::mock_azure) fn redeem(
        &mut self,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
        tick: &Tick,
    ) -> Result<Code, BadCode> {
        let code = self.codes.get_mut(code).ok_or(BadCode::Unknown)?;
        if code.used {
            return Err(BadCode::Used);
        }
        if tick.unix >= code.expires {
            return Err(BadCode::Expired);
        }
        if !code.asked.client_id.eq_ignore_ascii_case(client_id) {
            return Err(BadCode::OtherClient);
        }
        if code.redirect_uri != redirect_uri {
            return Err(BadCode::OtherRedirect);
        }
        let met = match (&code.challenge, verifier) {
            (None, None) => true,
            (Some(challenge), Some(verifier)) => challenge.is_met_by(verifier),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !met {
            return Err(BadCode::Verifier);
        }
        code.used = true;
        Ok(code.clone())
    }

    /// Starts a device's sign-in: its device code and its user code.
    pub(in crate::mock_azure) fn start_device(
        &mut self,
        asked: Asked,
        lifetime: u64,
        interval: u64,
        tick: &Tick,
    ) -> (String, String) {
        let device_code = encode_base64url(&tick.random);
        let letter = |byte: &u8| USER_CODE_LETTERS.get(usize::from(*byte) % 20).copied().map_or('B', char::from);
        let user_code: String = sha256(&tick.random).iter().take(9).map(letter).collect();
        self.devices.retain(|_, device| device.expires + CODE_LIFETIME > tick.unix);
        bound(&mut self.devices);
        let device = Device {
            user_code: user_code.clone(),
            asked,
            expires: tick.unix + lifetime,
            interval,
            decision: Decision::Pending,
            last_poll: None,
        };
        self.devices.insert(device_code.clone(), device);
        (device_code, user_code)
    }

    /// A person decides. Says whether there was something to decide.
    pub(in crate::mock_azure) fn decide(&mut self, user_code: &str, decision: Decision, tick: &Tick) -> bool {
        let waits = |device: &&mut Device| {
            device.user_code.eq_ignore_ascii_case(user_code.trim())
                && device.decision == Decision::Pending
                && tick.unix < device.expires
        };
        match self.devices.values_mut().find(waits) {
            Some(device) => {
                device.decision = decision;
                true
            }
            None => false,
        }
    }

    /// User codes that wait for a decision.
    pub(in crate::mock_azure) fn waiting(&self, tick: &Tick) -> Vec<String> {
        let waits = |device: &&Device| device.decision == Decision::Pending && tick.unix < device.expires;
        self.devices.values().filter(waits).map(|device| device.user_code.clone()).collect()
    }

    /// A device asks.
    pub(in crate::mock_azure) fn poll_device(
        &mut self,
        device_code: &str,
        client_id: &str,
        tick: &Tick,
    ) -> Result<Asked, Waiting> {
        let device = self.devices.get_mut(device_code).ok_or(Waiting::Unknown)?;
        if !device.asked.client_id.eq_ignore_ascii_case(client_id) || device.decision == Decision::Done {
            return Err(Waiting::Unknown);
        }
        if tick.unix >= device.expires {
            return Err(Waiting::Expired);
        }
        let last = device.last_poll.replace(tick.unix);
        match device.decision {
            Decision::Approved => {
                device.decision = Decision::Done;
                Ok(device.asked.clone())
            }
            Decision::Declined => Err(Waiting::Declined),
            Decision::Done => Err(Waiting::Unknown),
            // Whole seconds: who keeps to the interval can look a second early.
            Decision::Pending if last.is_some_and(|last| tick.unix + 1 < last + device.interval) => {
                Err(Waiting::SlowDown)
            }
            Decision::Pending => Err(Waiting::Pending),
        }
    }

    /// Makes a refresh token.
    pub(in crate::mock_azure) fn keep(&mut self, asked: &Asked, tick: &Tick) -> String {
        // Of the same randomness other parts of the answer are made.
        let token = format!("1.{}", encode_base64url(&sha256(&sha256(&tick.random))));
        self.refreshes.retain(|_, refresh| refresh.expires > tick.unix);
        bound(&mut self.refreshes);
        let Asked { client_id, scope, audience } = asked.clone();
        let expires = tick.unix + REFRESH_LIFETIME;
        self.refreshes.insert(token.clone(), Refresh { client_id, scope, audience, expires });
        token
    }

    /// What a refresh token stands for. It can be used again: Entra does not take one back when it gives another.
    pub(in crate::mock_azure) fn refresh(&self, token: &str, client_id: &str, tick: &Tick) -> Option<Asked> {
        let refresh = self.refreshes.get(token)?;
        let good = refresh.client_id.eq_ignore_ascii_case(client_id) && tick.unix < refresh.expires;
        good.then(|| Asked {
            client_id: refresh.client_id.clone(),
            audience: refresh.audience.clone(),
            scope: refresh.scope.clone(),
        })
    }

    /// Takes all refresh tokens back.
    pub(in crate::mock_azure) fn revoke(&mut self) {
        self.refreshes.clear();
    }
}

fn bound<T>(grants: &mut BTreeMap<String, T>) {
    while grants.len() >= MAX_GRANTS {
        grants.pop_first();
    }
}
