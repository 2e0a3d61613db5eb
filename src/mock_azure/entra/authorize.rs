//! Sign-in in a browser: a page with the person's name and password, then back to the client with a code (RFC 6749, 7636, 8252).

use axum::response::Response;
use http::StatusCode;

use super::{
    Asked, Version, audience, check_tenant,
    device::{check_client, signs_in},
    errors::EntraError,
    html, page,
    token::{check_resource, tick},
};
use crate::mock_azure::{
    state::{
        grants::{self, Challenge},
        guid,
    },
    wire::{Form, with},
};

/// Where a public client that has no listener is sent.
const NATIVE: [&str; 2] = ["https://login.microsoftonline.com/common/oauth2/nativeclient", "urn:ietf:wg:oauth:2.0:oob"];

/// How the answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Query,
    Fragment,
    FormPost,
}

/// A request that may be answered by a redirect: client and redirect URI are good.
struct Way<'a> {
    redirect_uri: &'a str,
    mode: Mode,
    state: Option<&'a str>,
}

pub(super) fn answer(asked: &Asked<'_>, tenant: &str, version: Version, decides: bool) -> Result<Response, EntraError> {
    let query = &asked.query;
    // Nothing is sent to an address that has not been checked.
    let way = match check_way(asked, tenant) {
        Ok(way) => way,
        Err(error) => return Ok(html(StatusCode::BAD_REQUEST, page::said(&error.described()))),
    };
    let request = match read(asked, query, version) {
        Ok(request) => request,
        Err(error) => return Ok(way.back(&[("error", error.name()), ("error_description", &error.described())])),
    };
    if !decides {
        return Ok(html(StatusCode::OK, page::sign_in(query.get("login_hint").unwrap_or_default(), None)));
    }
    if asked.form.get("decision") == Some("decline") {
        let error = EntraError::new(65_004, "the person declined");
        return Ok(way.back(&[("error", error.name()), ("error_description", &error.described())]));
    }
    if !signs_in(asked, &asked.form) {
        let name = asked.form.get("username").unwrap_or_default();
        let page = page::sign_in(name, Some("This name and password are not those of the mock's person."));
        return Ok(html(StatusCode::UNAUTHORIZED, page));
    }
    let tick = tick(asked.world)?;
    let nonce = query.get("nonce").map(str::to_owned);
    let code = {
        let mut directory = asked.world.directory();
        directory.grants.authorize(request.asked, way.redirect_uri.to_owned(), nonce, request.challenge, &tick)
    };
    let mut session = [0; 16];
    session.copy_from_slice(tick.random.get(16..).unwrap_or(&[0; 16]));
    Ok(way.back(&[("code", &code), ("session_state", &guid(session))]))
}

fn check_way<'a>(asked: &'a Asked<'_>, tenant: &str) -> Result<Way<'a>, EntraError> {
    check_tenant(asked.world, tenant, true)?;
    let query = &asked.query;
    let client_id = query.get("client_id").ok_or_else(|| EntraError::missing("client_id"))?;
    check_client(asked, client_id)?;
    let redirect_uri = query.get("redirect_uri").ok_or_else(|| EntraError::missing("redirect_uri"))?;
    if !is_registered(redirect_uri) {
        return Err(EntraError::new(50_011, "the redirect URI is not registered: http://localhost:PORT is"));
    }
    let mode = match query.get("response_mode") {
        None | Some("query") => Mode::Query,
        Some("fragment") => Mode::Fragment,
        Some("form_post") => Mode::FormPost,
        Some(_) => return Err(EntraError::new(90_014, "the response mode is not supported")),
    };
    Ok(Way { redirect_uri, mode, state: query.get("state") })
}

/// Loopback with any port and path (RFC 8252 section 7.3), and what clients without a listener use.
fn is_registered(redirect_uri: &str) -> bool {
    if NATIVE.contains(&redirect_uri) {
        return true;
    }
    let Ok(uri) = redirect_uri.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let clean = !redirect_uri.contains(['#', '"', '<', '>', '\\']) && !redirect_uri.chars().any(char::is_control);
    uri.scheme_str() == Some("http") && matches!(host, "localhost" | "127.0.0.1") && bare && clean
}

struct Request {
    asked: grants::Asked,
    challenge: Option<Challenge>,
}

fn read(asked: &Asked<'_>, query: &Form, version: Version) -> Result<Request, EntraError> {
    let client_id = query.get("client_id").ok_or_else(|| EntraError::missing("client_id"))?;
    match query.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(EntraError::new(700_054, "only the response type 'code' is supported")),
        None => return Err(EntraError::missing("response_type")),
    }
    let (audience, scope) = match (version, query.get("resource"), query.get("scope")) {
        (Version::V1, Some(resource), _) => (resource.to_owned(), "user_impersonation".to_owned()),
        (Version::V1, None, _) => return Err(EntraError::missing("resource")),
        (Version::V2, _, Some(scope)) => (audience::of_person_scopes(scope)?, scope.to_owned()),
        (Version::V2, _, None) => return Err(EntraError::missing("scope")),
    };
    check_resource(asked, &audience)?;
    let challenge = match (query.get("code_challenge"), query.get("code_challenge_method")) {
        (None, _) => None,
        (Some(challenge), Some("S256")) => Some(Challenge::S256(challenge.to_owned())),
        (Some(challenge), None | Some("plain")) => Some(Challenge::Plain(challenge.to_owned())),
        (Some(_), Some(_)) => return Err(EntraError::new(501_491, "the code challenge method is S256 or plain")),
    };
    Ok(Request { asked: grants::Asked { client_id: client_id.to_owned(), audience, scope }, challenge })
}

impl Way<'_> {
    /// Back to the client.
    fn back(&self, fields: &[(&str, &str)]) -> Response {
        let fields: Vec<(&str, &str)> =
            fields.iter().copied().chain(self.state.map(|state| ("state", state))).collect();
        if self.mode == Mode::FormPost {
            return html(StatusCode::OK, page::form_post(self.redirect_uri, &fields));
        }
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let separator = match self.mode {
            Mode::Fragment => '#',
            Mode::Query | Mode::FormPost if self.redirect_uri.contains('?') => '&',
            Mode::Query | Mode::FormPost => '?',
        };
        let response = html(StatusCode::FOUND, String::new());
        with(response, "location", &format!("{}{separator}{encoded}", self.redirect_uri))
    }
}

#[cfg(test)]
mod tests {
    use super::is_registered;

    #[test]
    fn codes_go_to_this_machine_alone() {
        for good in ["http://localhost:8400", "http://localhost/path?x=1", "http://127.0.0.1:1/", NATIVE_ONE] {
            assert!(is_registered(good), "{good}");
        }
        for bad in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost@evil.example/",
            "http://localhost:1/#x",
            "http://localhost:1/\"><script>",
            "javascript:alert(1)",
            "localhost",
            "",
        ] {
            assert!(!is_registered(bad), "{bad}");
        }
    }

    const NATIVE_ONE: &str = "https://login.microsoftonline.com/common/oauth2/nativeclient";
}
