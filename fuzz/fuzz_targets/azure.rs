//! Whatever Azure's side answers, to any call: the client never shows what it sent, never sends it elsewhere, and believes nothing
//! that cannot be used. The input is an answer as it comes over HTTP/1.1, and every call gets it.
#![no_main]

use std::{
    fmt::Debug,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use scoregate::{
    azure::{
        BoxFuture,
        calls::{Calls, Why},
        cloud::{Audience, Known},
        config_json,
        control::Control,
        error::Error,
        http::{Http, Request},
        identity::{
            Identity, Kind as SignIn, TokenEndpoint,
            cache::Kept,
            login::{self, Asking},
            managed::{Host, IMDS, Managed, Which},
            sdk_auth,
            service_principal::{Application, Proof},
        },
        service::{
            self, Auth, Kind, Name, Regenerated,
            operation::{Operation, Progress},
        },
        token::{Bearer, TokenSource, Wanted},
        url::Url,
        workspace::{self, Place, Workspace},
    },
    clock::Clock,
    config::model::Slot,
    proxy::{head::ResponseHead, http1::parse},
    secret::Secret,
};

const TOKEN: &str = "canary-control-plane-token";
const KEY: &str = "canary-key-that-is-set";
const PASSWORD: &str = "canary-client-secret";
const REFRESH: &str = "canary-refresh-token";
const NOW: u64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    files(bytes);
    let mut head = ResponseHead::default();
    let Ok(Some((length, _))) = parse::response(bytes, 100, &mut head) else { return };
    let mut answer = http::Response::builder().status(head.status);
    for (name, value) in head.fields.iter() {
        answer = answer.header(name, value);
    }
    let Ok(answer) = answer.body(bytes[length..].to_vec()) else { return };
    let answer = Arc::new(answer);
    for kind in [Kind::Aci, Kind::Aks, Kind::Online] {
        one_service(&answer, kind);
    }
    workspaces(&answer);
    sign_ins(&answer);
});

/// A service's own calls, in a workspace that is sound.
fn one_service(answer: &Arc<http::Response<Vec<u8>>>, kind: Kind) {
    let world = World::new(answer, |why| !matches!(why, Why::Workspace | Why::Discovery));
    let service = service::connect(world.workspace(Some("g")), Name { name: "x".into(), kind });
    let calls = &mut Calls::default();
    if let Some(description) = world.checked(service.describe(calls)) {
        let _either = description.usable(&Name { name: "x".into(), kind }, None);
    }
    if let Some(keys) = world.checked(service.list_keys(calls)) {
        for slot in Slot::BOTH {
            carried(keys.of(slot));
        }
        assert_eq!(format!("{keys:?}"), "KeyPair { primary: [redacted], secondary: [redacted] }");
    }
    for auth in [Auth::Token, Auth::Entra] {
        if let Some(token) = world.checked(service.token(auth, None, calls)) {
            carried(&token.value);
            assert!(token.refresh_unix <= token.expires_unix, "renewed after its end");
            let _both = (token.good_for(NOW), token.refresh_in(NOW));
        }
    }
    let key = Secret::new(KEY.as_bytes().to_vec());
    let regenerated = world.checked(service.regenerate(Slot::Primary, Some(&key), calls));
    let Some(Regenerated::Started(operation, _)) = regenerated else { return };
    // It is kept over a restart as text.
    assert_eq!(operation.to_string().parse::<Operation>().as_ref(), Ok(&operation));
    match world.checked(service.poll(&operation, calls)) {
        Some(Progress::Failed(words)) => {
            shown(&words);
            assert!(!words.contains(TOKEN), "{words}: shows what was sent");
        }
        Some(Progress::Running(next, _)) => assert_eq!(next.to_string().parse::<Operation>().ok(), Some(next)),
        Some(Progress::Succeeded) | None => {}
    }
}

/// What finds workspaces, and what is asked about one.
fn workspaces(answer: &Arc<http::Response<Vec<u8>>>) {
    let world = World::new(answer, |_| true);
    let calls = &mut Calls::default();
    world.checked(workspace::list(&world.control, "s", calls));
    world.checked(workspace::subscriptions(&world.control, calls));
    world.checked(workspace::tenants(&world.control, calls));
    let named = world.workspace(Some("g"));
    world.checked(named.facts(calls));
    world.checked(named.compute_region("c", calls));
    if let Some(grants) = world.checked(named.permissions(calls)) {
        let _any = grants.iter().any(|grant| grant.permits("Microsoft.A/b/c/action"));
    }
    let searched = world.workspace(None);
    world.checked(searched.facts(calls));
    world.checked(searched.id(calls));
    // The list of a region's addresses is the one that says where tokens go from then on.
    let world = World::new(answer, |why| why != Why::Workspace);
    if let Some(base) = world.checked(world.workspace(Some("g")).model_management(calls)) {
        assert!(base.keeps_secrets(), "{base}");
    }
    let world = World::new(answer, |why| why != Why::Discovery);
    world.checked(world.workspace(Some("g")).model_management(calls));
}

/// Every way to sign in that asks somebody.
fn sign_ins(answer: &Arc<http::Response<Vec<u8>>>) {
    let world = World::new(answer, |_| true);
    let audience = Known::Public.cloud().audience;
    let application = Application {
        tenant: "t".into(),
        client: "c".into(),
        proof: Proof::Secret(Secret::new(PASSWORD.as_bytes().to_vec())),
    };
    let machine = Managed { which: Which::System, host: Host::Imds(Url::parse(IMDS).expect("a URL")) };
    for endpoint in [TokenEndpoint::V1, TokenEndpoint::V2] {
        for kind in [SignIn::Application(application.clone()), SignIn::Managed(machine.clone())] {
            let identity = Identity { name: "i".into(), kind, cloud: Known::Public.cloud(), endpoint };
            let tokens = identity.tokens(&world.http);
            if let Some(bearer) = world.checked(tokens.token(&audience, Wanted::Valid, &mut Calls::default())) {
                assert!(bearer.renew <= bearer.expires && bearer.expires_unix > NOW);
                assert!(!bearer.value.expose_bytes().is_empty());
            }
        }
    }
    let identity = Identity {
        name: "i".into(),
        kind: SignIn::Managed(machine),
        cloud: Known::Public.cloud(),
        endpoint: TokenEndpoint::V2,
    };
    let kept = Kept {
        authority: identity.cloud.authority.origin(),
        tenant: "t".into(),
        client: "c".into(),
        user: None,
        refresh_token: Secret::new(REFRESH.as_bytes().to_vec()),
    };
    world.checked(login::refresh(&identity, &world.http, &kept, &audience, &mut Calls::default()));
    let asking = Asking { identity: Arc::new(identity), tenant: "t".into(), client: "c".into(), audience };
    if let Some(code) = world.checked(asking.device_code(&world.http, &mut Calls::default())) {
        shown(&code.address);
        shown(&code.user_code);
    }
}

/// Files of Azure's own forms.
fn files(bytes: &[u8]) {
    if let Err(why) = config_json::parse(bytes) {
        shown(&why);
    }
    match sdk_auth::parse(bytes) {
        Ok(read) => assert!(!read.secret.expose_bytes().is_empty()),
        Err(why) => shown(&why),
    }
}

/// A client, and what secrets it sent where.
struct World {
    http: Http,
    control: Arc<Control>,
    sent: Arc<Mutex<Vec<(Url, Vec<Secret>)>>>,
}

impl World {
    /// `fuzzed` says which calls get the input; the others are answered soundly.
    fn new(answer: &Arc<http::Response<Vec<u8>>>, fuzzed: impl Fn(Why) -> bool + Send + Sync + 'static) -> Self {
        let (answer, sent) = (Arc::clone(answer), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&sent);
        let http = Http::scripted(Clock::manual(NOW), move |request: &Request| {
            log.lock().expect("one thread").push((request.url.clone(), request.secrets.clone()));
            if fuzzed(request.why) { Some((*answer).clone()) } else { sound(request.why) }
        });
        let control = Arc::new(Control::new(&http, Arc::new(Tokens), Known::Public.cloud()));
        Self { http, control, sent }
    }

    fn workspace(&self, group: Option<&str>) -> Arc<Workspace> {
        let place = Place { subscription: "s".into(), resource_group: group.map(Into::into), name: "w".into() };
        Arc::new(Workspace::new(Arc::clone(&self.control), place))
    }

    /// Runs a call to its end, and looks at what it says and where it went.
    fn checked<T: Debug>(&self, call: impl Future<Output = Result<T, Error>>) -> Option<T> {
        let Poll::Ready(done) = pin!(call).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits although every answer is there")
        };
        let cloud = Known::Public.cloud();
        let sent = std::mem::take(&mut *self.sent.lock().expect("one thread"));
        for (url, _) in sent.iter().filter(|(_, secrets)| !secrets.is_empty()) {
            let own = [&cloud.resource_manager, &cloud.authority].into_iter().any(|own| url.has_origin_of(own));
            let regional =
                url.is_tls() && url.port() == 443 && url.host().to_ascii_lowercase().ends_with(".management.azure.com");
            assert!(
                own || regional || url.origin().eq_ignore_ascii_case("https://region.example") || url.origin() == IMDS,
                "a secret went to {url}"
            );
        }
        match done {
            Ok(value) => Some(value),
            Err(error) => {
                let text = error.to_string();
                shown(&text);
                // Whoever answered knows what came with that request.
                for secret in sent.last().iter().flat_map(|(_, secrets)| secrets) {
                    let secret = String::from_utf8_lossy(secret.expose_bytes());
                    assert!(
                        !text.contains(&*secret) && !format!("{error:?}").contains(&*secret),
                        "{text}: shows what was sent"
                    );
                }
                let _all = (error.heals(), error.may_have_happened(), error.retry_after());
                None
            }
        }
    }
}

fn sound(why: Why) -> Option<http::Response<Vec<u8>>> {
    let body = match why {
        Why::Workspace => {
            r#"{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w","name":"w",
                "location":"eastus","properties":{"discoveryUrl":"https://region.example/discovery"}}"#
        }
        Why::Discovery => r#"{"modelmanagement":"https://region.example"}"#,
        _ => return None,
    };
    Some(http::Response::new(body.into()))
}

/// What a person or a log gets to see.
fn shown(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}: it writes to a terminal");
    assert!(text.chars().count() < 2000, "{text}: without an end");
}

/// What is believed to be a credential can be sent as one.
fn carried(value: &Secret) {
    assert!(!value.expose_bytes().is_empty() && HeaderValue::from_bytes(value.expose_bytes()).is_ok());
}

/// A token source that always has one, but none other than it.
#[derive(Debug)]
struct Tokens;

impl TokenSource for Tokens {
    fn token<'a>(&'a self, _: &'a Audience, _: Wanted, _: &'a mut Calls) -> BoxFuture<'a, Result<Arc<Bearer>, Error>> {
        let far = Clock::manual(0).now() + Duration::from_secs(1 << 40);
        let value = Secret::new(TOKEN.as_bytes().to_vec());
        Box::pin(async move { Ok(Arc::new(Bearer { value, renew: far, expires: far, expires_unix: 0 })) })
    }

    fn who(&self) -> String {
        "a fuzz target".to_owned()
    }
}
