//! A person signs in on another device: a code is shown, and the identity provider is asked until it was entered (RFC 8628).

use std::time::Duration;

use serde::Deserialize;

use super::{
    TokenEndpoint,
    login::{Asking, BESIDE, SignedIn},
    oauth::{self, Form, Number, SecretText},
};
use crate::azure::{
    calls::{Calls, Why},
    error::{Error, Heals},
    http::Http,
};

/// RFC 8628 section 3.5: this much more pause, from then on, whenever it is asked for.
const SLOWER: Duration = Duration::from_secs(5);
const DOING: &str = "sign in with a device code";

/// What a person is shown.
#[derive(Debug, Clone)]
pub struct DeviceCode {
    /// Where to go.
    pub address: String,
    /// What to enter there.
    pub user_code: String,
    /// How long it may take.
    pub good_for: Duration,
    device_code: SecretText,
    interval: Duration,
}

#[derive(Deserialize)]
struct Answer {
    user_code: String,
    device_code: SecretText,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default)]
    expires_in: Number,
    #[serde(default)]
    interval: Number,
}

impl Asking {
    /// Asks for a code.
    ///
    /// # Errors
    /// What the identity provider says.
    pub async fn device_code(&self, http: &Http, calls: &mut Calls) -> Result<DeviceCode, Error> {
        let endpoint = self.identity.endpoint;
        let what = match endpoint {
            TokenEndpoint::V1 => "devicecode?api-version=1.0",
            TokenEndpoint::V2 => "devicecode",
        };
        let form = Form::default().with("client_id", &self.client).for_audience(endpoint, &self.audience, BESIDE);
        let request = form.request(Why::DeviceCode, DOING, oauth::address(&self.identity, &self.tenant, what)?);
        let reply = http.trusting(self.identity.cloud.trust()).call(request, calls).await?.success()?;
        let answer: Answer = reply.json("a device code")?;
        let seconds = |number: Number, otherwise: u64| {
            Duration::from_secs(number.0.and_then(|number| u64::try_from(number).ok()).unwrap_or(otherwise))
        };
        Ok(DeviceCode {
            address: visible(&answer.verification_uri),
            user_code: visible(&answer.user_code),
            good_for: seconds(answer.expires_in, 900),
            device_code: answer.device_code,
            interval: seconds(answer.interval, 5).max(Duration::from_secs(1)),
        })
    }

    /// Waits until the code was entered.
    ///
    /// # Errors
    /// Where it was declined or not entered in time, or the identity provider says something else.
    pub async fn await_code(&self, http: &Http, code: &DeviceCode, calls: &mut Calls) -> Result<SignedIn, Error> {
        let http = &http.trusting(self.identity.cloud.trust());
        let began = http.clock().now();
        let mut interval = code.interval;
        loop {
            http.clock().sleep(interval).await;
            let form = Form::default().with("client_id", &self.client);
            let form = match self.identity.endpoint {
                TokenEndpoint::V1 => form
                    .with("grant_type", "device_code")
                    .with("resource", self.audience.resource())
                    .with_secret("code", &code.device_code.0),
                TokenEndpoint::V2 => form
                    .with("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
                    .with_secret("device_code", &code.device_code.0),
            };
            let request = form.request(Why::SignIn, DOING, oauth::address(&self.identity, &self.tenant, "token")?);
            let error = match oauth::token(http, request, calls).await {
                Ok((answer, reply)) => return self.signed_in(&answer, &reply, None, http.clock().unix_seconds()),
                Err(error) => error,
            };
            match error.refusal().map_or("", |refusal| refusal.code.as_str()) {
                "authorization_pending" => {}
                "slow_down" => interval += SLOWER,
                "authorization_declined" | "access_denied" => {
                    return Err(error.advise("it was declined on the other device"));
                }
                "expired_token" | "code_expired" => return Err(late()),
                // A person waits: a network that fails for a moment is not the end.
                _ if error.heals() == Heals::Soon => {}
                _ => return Err(error),
            }
            if http.clock().now().since(began) >= code.good_for {
                return Err(late());
            }
        }
    }
}

fn late() -> Error {
    Error::local(DOING, "the code was not entered in time").advise("run the command again")
}

/// What goes to a terminal.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
