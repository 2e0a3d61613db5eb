//! The Entra token that every call of a control plane shows.

use http::StatusCode;

use super::{Asked, Holder, errors::ControlError};
use crate::{
    mock_azure::entra::{claims, is_here},
    service_auth::{Presented, Refusal},
};

/// Audiences of the resource manager: its new and its classic name, each with a slash at the end or without.
const AUDIENCES: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];

/// Who asks.
///
/// # Errors
/// 401 with a challenge.
pub(super) fn check(asked: &Asked<'_>) -> Result<Holder, ControlError> {
    let refuse = |code, text: &str| {
        let tenant = &asked.world.setup.tenant;
        let challenge = format!(
            "Bearer authorization_uri=\"https://login.microsoftonline.com/{tenant}\", error=\"invalid_token\", error_description=\"{text}\""
        );
        ControlError::new(StatusCode::UNAUTHORIZED, code, text).with_challenge(challenge)
    };
    let missing = "Authentication failed. The Authorization header is missing or malformed.";
    let token =
        Presented::read(&asked.headers).value().map_err(|_reason: Refusal| refuse("AuthenticationFailed", missing))?;
    let token = std::str::from_utf8(token)
        .map_err(|_no_text| refuse("InvalidAuthenticationToken", "The token is malformed."))?;
    let is_audience = |audience: &str| is_ours(audience, &asked.base);
    let holder =
        claims::check(asked.world, token, asked.world.moment().unix, is_audience).map_err(|why| match why {
            claims::Refused::Malformed => refuse("InvalidAuthenticationToken", "The token is malformed."),
            claims::Refused::Foreign => {
                refuse("InvalidAuthenticationTokenTenant", "The token is from the wrong issuer.")
            }
            claims::Refused::Expired => refuse("ExpiredAuthenticationToken", "The token has expired."),
            claims::Refused::Audience => refuse("InvalidAuthenticationToken", "The token is for another audience."),
        })?;
    let role = asked.world.directory().role(&holder.object_id);
    Ok(Holder { client_id: holder.client_id, role })
}

/// The four spellings, and our own address.
fn is_ours(audience: &str, base: &str) -> bool {
    let plain = audience.strip_suffix('/').unwrap_or(audience);
    AUDIENCES.contains(&plain) || plain.eq_ignore_ascii_case(base) || is_here(plain)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn a_scoring_token_is_none_for_the_control_plane() {
        for good in [
            "https://management.azure.com",
            "https://management.core.windows.net/",
            "https://localhost:8443",
            "https://h.example",
        ] {
            assert!(is_ours(good, "https://h.example"), "{good}");
        }
        for bad in ["https://ml.azure.com", "https://graph.microsoft.com", "", "https://management.azure.com//"] {
            assert!(!is_ours(bad, "https://h.example"), "{bad}");
        }
    }
}
