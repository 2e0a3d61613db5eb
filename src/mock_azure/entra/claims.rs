//! Entra's tokens: their claims, how they are signed, and how the other sides check them.

use serde_json::{Value, json};

use crate::{
    jwt::{
        self, Compact, encode_base64url,
        rsa::{CryptoFailed, RsaAlgorithm},
    },
    mock_azure::{state::Tick, world::World},
};

/// Who a token is for.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct Principal {
    pub(in crate::mock_azure) object_id: String,
    pub(in crate::mock_azure) client_id: String,
    /// How the client proved itself: `0` not at all, `1` a secret, `2` a certificate or a federated token.
    pub(in crate::mock_azure) proof: &'static str,
    /// The person's name and the scopes, if it is a person.
    pub(in crate::mock_azure) person: Option<(String, String)>,
}

/// An access token, in the version 1 form that the resource manager gets: audience exactly as asked.
pub(in crate::mock_azure) fn access_token(
    world: &World,
    principal: &Principal,
    audience: &str,
    lifetime: u64,
    tick: &Tick,
) -> Result<String, CryptoFailed> {
    let tenant = &world.setup.tenant;
    let mut claims = json!({
        "aud": audience,
        "iss": format!("https://sts.windows.net/{tenant}/"),
        "iat": tick.unix, "nbf": tick.unix, "exp": tick.unix + lifetime,
        "tid": tenant, "oid": principal.object_id, "sub": principal.object_id,
        "appid": principal.client_id, "appidacr": principal.proof,
        "idtyp": if principal.person.is_some() { "user" } else { "app" },
        // Makes two tokens of one second differ.
        "uti": encode_base64url(tick.random.get(..12).unwrap_or_default()),
        "ver": "1.0",
    });
    if let (Some((name, scope)), Value::Object(claims)) = (&principal.person, &mut claims) {
        claims.insert("unique_name".to_owned(), json!(name));
        claims.insert("upn".to_owned(), json!(name));
        claims.insert("scp".to_owned(), json!(permissions(scope)));
    }
    sign(world, &claims)
}

/// The permissions of scopes, without the resource.
fn permissions(scope: &str) -> String {
    let permissions = scope.split_whitespace().filter_map(|one| one.rsplit('/').next());
    let named: Vec<&str> = permissions
        .map(|one| if one == ".default" { "user_impersonation" } else { one })
        .filter(|one| !matches!(*one, "openid" | "profile" | "offline_access" | "email"))
        .collect();
    if named.is_empty() { "user_impersonation".to_owned() } else { named.join(" ") }
}

/// What a client reads of the person who signed in.
#[derive(Debug)]
pub(in crate::mock_azure) struct IdToken<'a> {
    pub(in crate::mock_azure) issuer: String,
    pub(in crate::mock_azure) client_id: &'a str,
    pub(in crate::mock_azure) nonce: Option<&'a str>,
    pub(in crate::mock_azure) lifetime: u64,
    pub(in crate::mock_azure) version: &'static str,
}

/// An id token about the tenant's person.
pub(in crate::mock_azure) fn id_token(world: &World, asked: &IdToken<'_>, tick: &Tick) -> Result<String, CryptoFailed> {
    let user = &world.setup.user;
    let mut claims = json!({
        "aud": asked.client_id, "iss": asked.issuer,
        "iat": tick.unix, "nbf": tick.unix, "exp": tick.unix + asked.lifetime,
        "tid": world.setup.tenant, "oid": user.object_id, "sub": user.object_id,
        "name": user.name, "preferred_username": user.name, "upn": user.name, "unique_name": user.name,
        "ver": asked.version,
    });
    if let (Some(nonce), Value::Object(claims)) = (asked.nonce, &mut claims) {
        claims.insert("nonce".to_owned(), json!(nonce));
    }
    sign(world, &claims)
}

/// Signs claims with Entra's key.
pub(in crate::mock_azure) fn sign(world: &World, claims: &Value) -> Result<String, CryptoFailed> {
    let signer = &world.material.signer;
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": signer.id(), "x5t": signer.id() });
    jwt::assemble(&header, claims, |signed| signer.sign(signed))
}

/// Who holds a token.
#[derive(Debug)]
pub(in crate::mock_azure) struct Holder {
    pub(in crate::mock_azure) object_id: String,
    pub(in crate::mock_azure) client_id: String,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) enum Refused {
    Malformed,
    Foreign,
    Expired,
    Audience,
}

/// Checks an access token of this tenant.
pub(in crate::mock_azure) fn check(
    world: &World,
    token: &str,
    unix: u64,
    is_audience: impl Fn(&str) -> bool,
) -> Result<Holder, Refused> {
    let token = Compact::parse(token).map_err(|_malformed| Refused::Malformed)?;
    let signer = &world.material.signer;
    let public = signer.public().map_err(|_failed| Refused::Foreign)?;
    let ours = token.header_text("kid") == Some(signer.id())
        && token.header_text("alg") == Some("RS256")
        && public.verify(RsaAlgorithm::Rs256, token.signed, &token.signature)
        && token.text("iss") == Some(&format!("https://sts.windows.net/{}/", world.setup.tenant));
    if !ours {
        return Err(Refused::Foreign);
    }
    let (from, until) = (token.seconds("nbf").unwrap_or(0), token.seconds("exp").ok_or(Refused::Malformed)?);
    if unix < from || unix >= until {
        return Err(Refused::Expired);
    }
    if !token.audiences().any(is_audience) {
        return Err(Refused::Audience);
    }
    let text = |name| token.text(name).map(str::to_owned).ok_or(Refused::Malformed);
    Ok(Holder { object_id: text("oid")?, client_id: text("appid")? })
}

/// Audiences that scoring takes, with or without a slash at the end.
pub(in crate::mock_azure) fn is_scoring_audience(audience: &str) -> bool {
    let audience = audience.strip_suffix('/').unwrap_or(audience);
    matches!(audience, "https://ml.azure.com" | "https://ml.azure.cn" | "https://ml.azure.us")
}
