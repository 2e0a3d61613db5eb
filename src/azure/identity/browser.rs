//! A person signs in with a browser on this machine: OAuth's authorization code with PKCE (RFC 7636), handed back to a port of
//! loopback (RFC 8252 section 7.3).
//!
//! Whatever comes to that port without the `state` of this sign-in is answered and ignored: any page in the browser can send
//! something there. Nothing that came is shown back.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use super::{
    TokenEndpoint,
    login::{Asking, BESIDE, SignedIn},
    oauth::{self, Form},
};
use crate::{
    azure::{
        calls::{Calls, Why},
        error::Error,
        http::Http,
    },
    digest::sha256,
    random,
    secret::Secret,
};

/// A person looks for a telephone meanwhile.
const PATIENCE: Duration = Duration::from_secs(600);
const DOING: &str = "sign in with a browser";

/// A sign-in that waits for its browser.
#[derive(Debug)]
pub struct Browser {
    /// The address that the person opens.
    pub address: String,
    listeners: Vec<TcpListener>,
    redirect: String,
    state: String,
    nonce: String,
    verifier: Secret,
}

/// What the browser brought: a code, or why there is none.
type Brought = Result<Secret, String>;

impl Asking {
    /// Listens on loopback, and makes the address to open.
    ///
    /// # Errors
    /// Where this machine has no free port or no randomness.
    pub async fn browser(&self) -> Result<Browser, Error> {
        let local = |what: &dyn std::fmt::Display| Error::local(DOING, what);
        let fourth = TcpListener::bind("127.0.0.1:0").await.map_err(|error| local(&error))?;
        let port = fourth.local_addr().map_err(|error| local(&error))?.port();
        // `localhost` may mean either to the browser; where there is no IPv6 it means the first.
        let sixth = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await.ok();
        let word = || random::bytes::<32>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).map_err(|error| local(&error));
        let (state, nonce, verifier) = (word()?, word()?, word()?);
        let redirect = format!("http://localhost:{port}");
        let mut query = Serializer::new(String::new());
        query.append_pair("client_id", &self.client).append_pair("response_type", "code");
        query.append_pair("response_mode", "query").append_pair("redirect_uri", &redirect);
        match self.identity.endpoint {
            TokenEndpoint::V1 => query.append_pair("resource", self.audience.resource()),
            TokenEndpoint::V2 => query.append_pair("scope", &format!("{} {BESIDE}", self.audience.scope())),
        };
        query.append_pair("state", &state).append_pair("nonce", &nonce).append_pair("prompt", "select_account");
        query.append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())));
        query.append_pair("code_challenge_method", "S256");
        let url = oauth::address(&self.identity, &self.tenant, "authorize")?;
        Ok(Browser {
            address: format!("{url}?{}", query.finish()),
            listeners: [Some(fourth), sixth].into_iter().flatten().collect(),
            redirect,
            state,
            nonce,
            verifier: Secret::new(verifier.into_bytes()),
        })
    }

    /// Waits for the browser, and redeems what it brings.
    ///
    /// # Errors
    /// Where the person declined or did not come, or the identity provider says something else.
    pub async fn await_browser(&self, http: &Http, browser: Browser, calls: &mut Calls) -> Result<SignedIn, Error> {
        let Browser { listeners, redirect, state, nonce, verifier, .. } = browser;
        let code = match timeout(PATIENCE, brought(listeners, state)).await {
            Ok(Ok(code)) => code,
            Ok(Err(why)) => return Err(Error::local(DOING, why)),
            Err(_elapsed) => {
                let error =
                    Error::local(DOING, format!("no browser came back within {} minutes", PATIENCE.as_secs() / 60));
                return Err(error.advise("on a machine without one, `scoregate login --device-code`"));
            }
        };
        let form = Form::default()
            .with("grant_type", "authorization_code")
            .with("client_id", &self.client)
            .with("redirect_uri", &redirect)
            .with_secret("code", &code)
            .with_secret("code_verifier", &verifier)
            .for_audience(self.identity.endpoint, &self.audience, BESIDE);
        let request = form.request(Why::SignIn, DOING, oauth::address(&self.identity, &self.tenant, "token")?);
        let http = http.trusting(self.identity.cloud.trust());
        let (answer, reply) = oauth::token(&http, request, calls).await?;
        self.signed_in(&answer, &reply, Some(&nonce), http.clock().unix_seconds())
    }
}

#[derive(Clone)]
struct Awaited {
    state: Secret,
    brought: mpsc::Sender<Brought>,
}

/// The first request that knows the state.
async fn brought(listeners: Vec<TcpListener>, state: String) -> Brought {
    let (sender, mut receiver) = mpsc::channel(1);
    let app = Router::new()
        .route("/", get(returned))
        .with_state(Awaited { state: Secret::new(state.into_bytes()), brought: sender });
    let mut listeners = listeners.into_iter();
    let serve = |listener: Option<TcpListener>| {
        let app = app.clone();
        async move {
            match listener {
                Some(listener) => axum::serve(listener, app).await.map_err(|error| error.to_string()),
                None => std::future::pending().await,
            }
        }
    };
    // The pages that were answered are written by tasks of their own, which this does not end.
    tokio::select! {
        brought = receiver.recv() => brought.unwrap_or_else(|| Err("the listener ended".to_owned())),
        ended = serve(listeners.next()) => Err(format!("the listener ended: {ended:?}")),
        ended = serve(listeners.next()) => Err(format!("the listener ended: {ended:?}")),
    }
}

async fn returned(State(awaited): State<Awaited>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let value = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let state = value("state").unwrap_or_default();
    if !bool::from(state.as_bytes().ct_eq(awaited.state.expose_bytes())) {
        return page(StatusCode::BAD_REQUEST, "This is not the sign-in that scoregate waits for.");
    }
    let (brought, text) = match (value("code").filter(|code| !code.is_empty()), value("error")) {
        (Some(code), None) => (
            Ok(Secret::new(code.into_bytes())),
            "You are signed in. This page can be closed; scoregate goes on in its terminal.",
        ),
        (_, Some(error)) => {
            let word = |text: String| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
            let description = value("error_description").map_or_else(String::new, |text| format!(": {}", word(text)));
            (
                Err(format!("the identity provider says {}{description}", word(error))),
                "The sign-in failed. The terminal says why.",
            )
        }
        (None, None) => {
            (Err("the browser came back without a code".to_owned()), "The sign-in failed. The terminal says why.")
        }
    };
    // Full where the browser comes twice; the first time counts.
    drop(awaited.brought.try_send(brought));
    page(StatusCode::OK, text)
}

fn page(status: StatusCode, text: &'static str) -> Response {
    let body = format!("<!doctype html><meta charset=utf-8><title>scoregate</title><p>{text}</p>");
    let fields = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, fields, body).into_response()
}
