//! A person signs in, once: with a browser, and with a code on another device; what is kept is used ever after.

use std::{sync::Arc, time::Duration};

use form_urlencoded::Serializer;
use http::Method;
use scoregate::{
    azure::{
        calls::{Calls, Why},
        cloud::Audience,
        http::{Attempts, Body, Reply, Request},
        identity::{
            Identity, Kind, TokenEndpoint,
            cache::{Cache, Kept},
            login::{self, ANY_TENANT, Asking, Login, PUBLIC_CLIENT, SignedIn},
        },
        token::Wanted,
        url::Url,
        workspace,
    },
    clock::Clock,
    secret::Secret,
};
use serde_json::json;

use super::world::{World, pass_while};
use crate::support::in_time;

fn asking(world: &World, endpoint: TokenEndpoint, tenant: &str) -> Asking {
    let login = Login { tenant: None, client: PUBLIC_CLIENT.into(), cache: None };
    Asking {
        identity: Arc::new(Identity { endpoint, ..world.identity(Kind::Login(login)) }),
        tenant: tenant.to_owned(),
        client: PUBLIC_CLIENT.into(),
        audience: Audience::new("https://management.azure.com"),
    }
}

/// A login identity with what was kept gets tokens with nobody asked, and the resource manager takes them.
async fn goes_on_alone(world: &World, endpoint: TokenEndpoint, signed_in: &SignedIn) {
    assert_eq!(signed_in.kept.tenant, world.ports().tenant);
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache(folder.path().join("logins.json"));
    cache.keep(&signed_in.kept).unwrap();
    let login = Login { tenant: None, client: PUBLIC_CLIENT.into(), cache: Some(cache.clone()) };
    let identity = Identity { endpoint, ..world.identity(Kind::Login(login)) };
    let mut calls = Calls::default();
    let subscriptions = workspace::subscriptions(&world.control(&identity), &mut calls).await.unwrap();
    assert_eq!(subscriptions[0].id, world.ports().subscription);
    assert_eq!((calls.count(Why::SignIn), calls.made().len()), (1, 2));
    let kept = cache.read().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].user, signed_in.kept.user);
}

#[tokio::test]
async fn a_device_code_is_entered_elsewhere() {
    for endpoint in [TokenEndpoint::V2, TokenEndpoint::V1] {
        let clock = Clock::manual(1_800_000_000);
        let world = World::start_with(clock.clone(), Attempts::ONE).await;
        let asking = asking(&world, endpoint, ANY_TENANT);
        let mut calls = Calls::default();
        let code = asking.device_code(&world.http, &mut calls).await.unwrap();
        assert!(code.address.contains("http") && !code.user_code.is_empty());
        let approve = async {
            // Pending a few times first.
            clock.sleep(Duration::from_secs(17)).await;
            let path = format!("/devicecode/{}/approve", code.user_code);
            world.order(Method::POST, &path, json!({})).await;
        };
        let ((signed_in, ()), _) =
            pass_while(&clock, async { tokio::join!(asking.await_code(&world.http, &code, &mut calls), approve) })
                .await;
        let signed_in = signed_in.unwrap();
        assert!((3..=6).contains(&calls.count(Why::SignIn)), "{calls}: asked every five seconds, no oftener");
        goes_on_alone(&world, endpoint, &signed_in).await;
    }
}

#[tokio::test]
async fn a_device_code_that_is_declined_or_forgotten_ends_in_a_sentence() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    let asking = asking(&world, TokenEndpoint::V2, ANY_TENANT);
    let code = asking.device_code(&world.http, &mut Calls::default()).await.unwrap();
    world.order(Method::POST, &format!("/devicecode/{}/decline", code.user_code), json!({})).await;
    let (error, _) = pass_while(&clock, asking.await_code(&world.http, &code, &mut Calls::default())).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("declined on the other device"), "{error}");

    world.order(Method::PUT, "/entra", json!({ "device_lifetime": 20, "device_interval": 5 })).await;
    let code = asking.device_code(&world.http, &mut Calls::default()).await.unwrap();
    let mut calls = Calls::default();
    let (error, passed) = pass_while(&clock, asking.await_code(&world.http, &code, &mut calls)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("was not entered in time"), "{error}");
    assert!(passed < Duration::from_secs(40) && calls.made().len() <= 5, "{passed:?} {calls}");
}

async fn get(world: &World, address: &str) -> Reply {
    let request = Request::get(Why::Probe, "open a page", Url::parse(address).unwrap());
    world.http_with_ca().call(request, &mut Calls::default()).await.unwrap()
}

/// What a person does in a browser: the page is opened, the form sent, and where that leads to is opened too.
async fn browse(world: &World, address: &str, decision: &str) -> Reply {
    assert_eq!(get(world, address).await.status, 200, "the page to sign in at");
    let user = &world.ports().user;
    let form = Serializer::new(String::new())
        .append_pair("username", &user.name)
        .append_pair("password", &user.password)
        .append_pair("decision", decision)
        .finish();
    let body = Body::Form(Secret::new(form.into_bytes()));
    let request = Request::post(Why::Probe, "sign in", Url::parse(address).unwrap(), body);
    let back = world.http_with_ca().call(request, &mut Calls::default()).await.unwrap();
    assert_eq!(back.status, 302);
    get(world, back.field("location").unwrap()).await
}

#[tokio::test]
async fn a_browser_brings_a_code_back_to_loopback() {
    let world = World::start().await;
    for endpoint in [TokenEndpoint::V2, TokenEndpoint::V1] {
        let asking = asking(&world, endpoint, &world.ports().tenant);
        let browser = asking.browser().await.unwrap();
        let address = browser.address.clone();
        for part in
            ["code_challenge=", "code_challenge_method=S256", "state=", "nonce=", "redirect_uri=http%3A%2F%2Flocalhost"]
        {
            assert!(address.contains(part), "{part}: {address}");
        }
        let mut calls = Calls::default();
        let waiting = asking.await_browser(&world.http, browser, &mut calls);
        let browsing = async {
            // Anybody can send something to that port; without the state it counts for nothing.
            let redirect = form_urlencoded::parse(Url::parse(&address).unwrap().query().unwrap().as_bytes())
                .find(|(name, _)| name == "redirect_uri")
                .unwrap()
                .1
                .into_owned();
            for foreign in ["/?code=evil&state=guess", "/?error=evil", "/"] {
                assert_eq!(get(&world, &format!("{redirect}{foreign}")).await.status, 400);
            }
            assert_eq!(get(&world, &format!("{redirect}/favicon.ico")).await.status, 404);
            let page = browse(&world, &address, "approve").await;
            assert_eq!((page.status, page.field("cache-control")), (200, Some("no-store")));
        };
        let (signed_in, ()) = in_time("the sign-in", async { tokio::join!(waiting, browsing) }).await;
        let signed_in = signed_in.unwrap();
        assert_eq!(calls.made().len(), 1);
        goes_on_alone(&world, endpoint, &signed_in).await;
    }
}

#[tokio::test]
async fn a_person_who_declines_is_believed() {
    let world = World::start().await;
    let asking = asking(&world, TokenEndpoint::V2, &world.ports().tenant);
    let browser = asking.browser().await.unwrap();
    let address = browser.address.clone();
    let mut calls = Calls::default();
    let waiting = asking.await_browser(&world.http, browser, &mut calls);
    let (error, _) = in_time("the sign-in", async { tokio::join!(waiting, browse(&world, &address, "decline")) }).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the identity provider says access_denied"), "{error}");
    assert!(calls.made().is_empty(), "there was nothing to redeem");
}

#[tokio::test]
async fn what_was_kept_works_in_a_tenant_that_is_chosen_later() {
    let world = World::start().await;
    let asking = asking(&world, TokenEndpoint::V2, ANY_TENANT);
    let browser = asking.browser().await.unwrap();
    let address = browser.address.clone();
    let mut calls = Calls::default();
    let (signed_in, _) = in_time("the sign-in", async {
        tokio::join!(asking.await_browser(&world.http, browser, &mut calls), browse(&world, &address, "approve"))
    })
    .await;
    let kept = Kept { tenant: world.ports().tenant.clone(), ..signed_in.unwrap().kept };
    let there = login::refresh(&asking.identity, &world.http, &kept, &asking.audience, &mut calls).await.unwrap();
    assert_eq!(there.kept.tenant, kept.tenant);
}

#[tokio::test]
async fn a_sign_in_that_is_missing_or_revoked_asks_for_a_new_one() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache(folder.path().join("logins.json"));
    let login = |cache: Option<Cache>| Login { tenant: None, client: PUBLIC_CLIENT.into(), cache };
    let error = async |login: Login, most: usize| {
        let identity = world.identity(Kind::Login(login));
        let mut calls = Calls::default();
        let tokens = identity.tokens(&world.http);
        let error = tokens.token(&identity.cloud.audience, Wanted::Valid, &mut calls).await.unwrap_err().to_string();
        assert!(calls.made().len() <= most, "{calls}");
        assert!(!error.contains("canary"), "{error}");
        error
    };
    assert!(error(login(None), 0).await.contains("neither XDG_STATE_HOME nor HOME"));
    let nobody = error(login(Some(cache.clone())), 0).await;
    assert!(
        nobody.contains("nobody has signed in at https://") && nobody.contains("`scoregate login` does it"),
        "{nobody}"
    );
    let kept = Kept {
        authority: world.cloud().authority.origin(),
        tenant: world.ports().tenant.clone(),
        client: PUBLIC_CLIENT.into(),
        user: Some("ada".into()),
        refresh_token: Secret::new(b"canary-revoked".to_vec()),
    };
    cache.keep(&kept).unwrap();
    let revoked = error(login(Some(cache)), 1).await;
    assert!(revoked.contains("sign in again as ada") && revoked.contains("`scoregate login`"), "{revoked}");
}
