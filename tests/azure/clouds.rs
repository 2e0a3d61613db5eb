//! Other clouds than the public one, authorities of one's own, and the proxy that stands in between.

use std::{net::SocketAddr, sync::Arc};

use scoregate::{
    azure::{
        calls::Calls,
        cloud::{Audience, Cloud, Known},
        control::Control,
        http::{Attempts, Http, Proxies},
        identity::Identity,
        token::Wanted,
        url::Url,
        workspace,
    },
    clock::Clock,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::world::World;

#[tokio::test]
async fn a_private_authority_is_trusted_where_its_ca_is_named_and_nowhere_else() {
    let world = World::start().await;
    let mut identity = world.identity(world.by_secret());
    workspace::subscriptions(&world.control(&identity), &mut Calls::default()).await.unwrap();
    identity.cloud.ca = None;
    let mut calls = Calls::default();
    let error = identity.tokens(&world.http).token(&identity.cloud.audience, Wanted::Valid, &mut calls).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the certificate of localhost"), "{error}");
    assert!(error.contains("nobody whom this machine trusts has issued it"), "{error}");
    assert!(error.contains("`cloud.ca`"), "{error}");
    assert_eq!(calls.made().len(), 1, "it is not tried again");
}

#[tokio::test]
async fn an_audience_of_ones_own_is_asked_for_letter_by_letter() {
    let world = World::start().await;
    for audience in
        ["https://management.core.windows.net/", "https://management.azure.com", "https://management.azure.com/"]
    {
        let cloud = Cloud { audience: Audience::new(audience), ..world.cloud() };
        let identity = Identity { cloud, ..world.identity(world.by_secret()) };
        workspace::subscriptions(&world.control(&identity), &mut Calls::default()).await.unwrap();
    }
    let cloud = Cloud { audience: Audience::new("https://ml.azure.com"), ..world.cloud() };
    let identity = Identity { cloud, ..world.identity(world.by_secret()) };
    let error = workspace::subscriptions(&world.control(&identity), &mut Calls::default()).await.unwrap_err();
    assert_eq!(error.status(), Some(401), "{error}: a token for scoring is none for the control plane");
}

/// A proxy that tunnels to wherever the test says a name is.
pub(super) async fn proxy(password: Option<&'static str>, names: Vec<(&'static str, SocketAddr)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = Arc::new(names);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let names = Arc::clone(&names);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let wanted =
                    password.is_none_or(|password| head.contains(&format!("proxy-authorization: {password}\r\n")));
                if !wanted {
                    drop(stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await);
                    return;
                }
                let place = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
                let Some((_, address)) = names.iter().find(|(name, _)| *name == place) else {
                    drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await);
                    return;
                };
                let mut there = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                drop(copy_bidirectional(&mut stream, &mut there).await);
            });
        }
    });
    address
}

pub(super) fn port_of(url: &Option<String>) -> SocketAddr {
    let url = Url::parse(url.as_ref().unwrap()).unwrap();
    SocketAddr::from(([127, 0, 0, 1], url.port()))
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_on_the_way_to_azures_own_names() {
    let world = World::start().await;
    let ports = world.ports();
    let names = vec![
        ("login.microsoftonline.com:443", port_of(&ports.entra_tls)),
        ("management.azure.com:443", port_of(&ports.arm_tls)),
    ];
    let identity = Identity {
        cloud: Cloud { ca: Some(world.ca()), ..Known::Public.cloud() },
        ..world.identity(world.by_secret())
    };
    let through = async |proxies: Proxies| {
        let http = Http::new(proxies, Clock::system(), Attempts::ONE);
        let control = Control::new(&http, identity.tokens(&http), identity.cloud.clone());
        workspace::subscriptions(&control, &mut Calls::default()).await.map_err(|error| error.to_string())
    };
    let plain = proxy(None, names.clone()).await;
    assert_eq!(through(Proxies::all(&format!("http://{plain}"), "")).await.unwrap()[0].id, ports.subscription);
    // `me:pass`, in base64.
    let guarded = proxy(Some("Basic bWU6cGFzcw=="), names).await;
    through(Proxies::all(&format!("http://me:pass@{guarded}"), "")).await.unwrap();
    let error = through(Proxies::all(&format!("http://me:canary@{guarded}"), "")).await.unwrap_err();
    assert!(error.contains("it wants a user and password") && !error.contains("canary"), "{error}");
    let closed = proxy(None, Vec::new()).await;
    let error = through(Proxies::all(&format!("http://{closed}"), "")).await.unwrap_err();
    assert!(error.contains(&format!("by the proxy {closed}: it refuses with status 403")), "{error}");
    let error = through(Proxies::all(&format!("socks5://{closed}"), "")).await.unwrap_err();
    assert!(error.contains("not supported"), "{error}");
}

#[tokio::test]
async fn no_proxy_stands_before_what_is_on_this_machine() {
    let world = World::start().await;
    let closed = proxy(None, Vec::new()).await;
    // The mock is on loopback: a proxy for everything is not asked about it.
    let http = Http::new(Proxies::all(&format!("http://{closed}"), ""), Clock::system(), Attempts::ONE);
    let identity = world.identity(world.by_secret());
    let control = Control::new(&http, identity.tokens(&http), identity.cloud.clone());
    workspace::subscriptions(&control, &mut Calls::default()).await.unwrap();
}
