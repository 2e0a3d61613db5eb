//! What a token is asked for: from a scope or a resource to the audience, kept exactly as it was asked.

use super::errors::EntraError;

/// Resources that every tenant knows, without a slash at the end: the clouds' resource managers, their machine learning, and a few
/// that other programs ask for.
const KNOWN: [&str; 18] = [
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://management.chinacloudapi.cn",
    "https://management.core.chinacloudapi.cn",
    "https://management.usgovcloudapi.net",
    "https://management.core.usgovcloudapi.net",
    "https://ml.azure.com",
    "https://ml.azure.cn",
    "https://ml.azure.us",
    "https://graph.microsoft.com",
    "https://graph.windows.net",
    "https://graph.chinacloudapi.cn",
    "https://vault.azure.net",
    "https://storage.azure.com",
    "https://batch.core.windows.net",
    "https://batch.core.windows.net/",
    "00000003-0000-0000-c000-000000000000",
    "https://monitor.azure.com",
];

/// The audience of a person's sign-in that asks for no resource.
const GRAPH: &str = "https://graph.microsoft.com";
/// What OpenID Connect adds, which names no resource.
const OPENID: [&str; 4] = ["openid", "profile", "offline_access", "email"];

/// The resource of a request for an application: exactly one scope, `RESOURCE/.default`. `X//.default` keeps a slash.
pub(super) fn of_application_scope(scope: &str) -> Result<&str, EntraError> {
    let mut scopes = scope.split_whitespace();
    let (Some(one), None) = (scopes.next(), scopes.next()) else {
        return Err(EntraError::new(70_011, "the scope must be one resource with /.default"));
    };
    match one.strip_suffix("/.default") {
        Some(resource) if !resource.is_empty() => Ok(resource),
        _ => Err(EntraError::new(1_002_012, "the scope of client credentials must end in /.default")),
    }
}

/// The resource of a request for a person: whatever comes before the last slash of the scopes that name one.
pub(super) fn of_person_scopes(scope: &str) -> Result<String, EntraError> {
    let mut resource: Option<String> = None;
    for one in scope.split_whitespace().filter(|one| !OPENID.contains(one)) {
        let named = match one.rsplit_once('/') {
            Some((resource, _permission)) if !resource.is_empty() => resource,
            Some(_) => return Err(EntraError::new(70_011, "a scope is malformed")),
            None => GRAPH,
        };
        match &resource {
            Some(other) if other != named => {
                return Err(EntraError::new(28_000, "the scopes name more than one resource"));
            }
            _ => resource = Some(named.to_owned()),
        }
    }
    Ok(resource.unwrap_or_else(|| GRAPH.to_owned()))
}

/// Refuses a resource that no tenant knows. `own`: client ids of this tenant; `base`: how the client names us.
pub(super) fn check(resource: &str, own: &[String], base: &str) -> Result<(), EntraError> {
    let plain = resource.strip_suffix('/').unwrap_or(resource);
    let bare = plain.strip_prefix("api://").unwrap_or(plain);
    let known = KNOWN.contains(&plain)
        || own.iter().any(|id| id.eq_ignore_ascii_case(bare))
        || is_here(plain)
        || plain.eq_ignore_ascii_case(base);
    if known { Ok(()) } else { Err(EntraError::new(500_011, "the resource principal is not known in this tenant")) }
}

/// Whether a resource is an address of this machine: the resource manager of a cloud of one's own, in the v2 SDK's words.
pub(in crate::mock_azure) fn is_here(resource: &str) -> bool {
    let Ok(uri) = resource.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let local =
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    local && uri.scheme().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_asks_for_one_resource_and_its_slash_stays() {
        let asked = |scope| of_application_scope(scope).map_err(|error| error.name());
        assert_eq!(asked("https://management.azure.com/.default"), Ok("https://management.azure.com"));
        assert_eq!(asked("https://management.core.windows.net//.default"), Ok("https://management.core.windows.net/"));
        for wrong in ["", "/.default", "https://ml.azure.com", "a/.default b/.default"] {
            assert_eq!(asked(wrong), Err("invalid_scope"), "{wrong}");
        }
    }

    #[test]
    fn a_person_asks_for_one_resource_among_openid_words() {
        let asked = |scope| of_person_scopes(scope).map_err(|error| error.name());
        assert_eq!(asked("openid https://ml.azure.com/.default profile").as_deref(), Ok("https://ml.azure.com"));
        assert_eq!(
            asked("https://management.core.windows.net//user_impersonation").as_deref(),
            Ok("https://management.core.windows.net/")
        );
        assert_eq!(asked("openid").as_deref(), Ok(GRAPH));
        assert_eq!(asked("User.Read").as_deref(), Ok(GRAPH));
        assert_eq!(asked("https://ml.azure.com/x https://vault.azure.net/y"), Err("invalid_scope"));
    }

    #[test]
    fn only_known_resources_have_tokens() {
        let known = |resource| check(resource, &["c1".to_owned()], "https://own.example:1").is_ok();
        for one in [
            "https://management.azure.com/",
            "https://localhost:8443",
            "https://127.0.0.1:1/",
            "api://c1",
            "C1",
            "https://own.example:1",
        ] {
            assert!(known(one), "{one}");
        }
        for other in ["https://nobody.example", "localhost", "", "https://localhost.evil.example", "api://c2"] {
            assert!(!known(other), "{other}");
        }
    }
}
