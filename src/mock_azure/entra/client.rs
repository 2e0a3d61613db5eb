//! Which client a request is from, and whether it proved so.

use super::{
    Asked,
    assertion::{self, Expected},
    errors::EntraError,
};
use crate::mock_azure::state::directory::{Application, Client, SecretVerdict};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client that is who it says.
#[derive(Debug)]
pub(super) enum Proven {
    /// With `1` for a secret, `2` for an assertion.
    Confidential(Box<Application>, &'static str),
    Public(String),
}

impl Proven {
    pub(super) fn client_id(&self) -> &str {
        match self {
            Self::Confidential(application, _) => &application.client_id,
            Self::Public(client_id) => client_id,
        }
    }

    pub(super) const fn proof(&self) -> &'static str {
        match self {
            Self::Confidential(_, proof) => proof,
            Self::Public(_) => "0",
        }
    }
}

/// Authenticates the client of a token request.
///
/// # Errors
/// Entra's error for what is wrong with its proof.
pub(super) fn authenticate(asked: &Asked<'_>) -> Result<Proven, EntraError> {
    let client_id = asked.form.get("client_id").ok_or_else(|| EntraError::missing("client_id"))?;
    let (secret, shown) = (asked.form.get("client_secret"), asked.form.get("client_assertion"));
    let client = {
        let directory = asked.world.directory();
        match directory.client(client_id) {
            None => None,
            Some(Client::Public) => Some(Err(directory.public_client_id.clone())),
            Some(Client::Confidential(application)) => Some(Ok(application.clone())),
        }
    };
    let application = match client {
        None => {
            let text = format!("the application '{client_id}' is not known in this tenant");
            return Err(EntraError::new(700_016, &text));
        }
        Some(Err(public)) if secret.is_none() && shown.is_none() => return Ok(Proven::Public(public)),
        Some(Err(_public)) => {
            return Err(EntraError::new(700_025, "the client is public, so it shows neither secret nor assertion"));
        }
        Some(Ok(application)) => application,
    };
    let unix = asked.world.moment().unix;
    match (secret, shown) {
        (Some(secret), _) => match application.judge_secret(secret.as_bytes(), unix) {
            SecretVerdict::Right => Ok(Proven::Confidential(Box::new(application), "1")),
            SecretVerdict::Expired => Err(EntraError::new(7_000_222, "the client secret has expired")),
            SecretVerdict::Wrong => Err(EntraError::new(7_000_215, "the client secret is not this application's")),
        },
        (None, Some(shown)) => {
            if asked.form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
                return Err(EntraError::missing("client_assertion_type"));
            }
            let failed = |_failed| EntraError::new(90_033, "the mock's own key cannot be used");
            let cluster_key = asked.world.material.signer.public().map_err(failed)?;
            let expected = Expected { tenant: &asked.world.setup.tenant, cluster_key: &cluster_key, unix };
            assertion::check(shown, &application, &expected)?;
            Ok(Proven::Confidential(Box::new(application), "2"))
        }
        (None, None) => Err(EntraError::new(7_000_218, "the request must contain client_assertion or client_secret")),
    }
}
