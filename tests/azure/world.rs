//! An Azure of this test's own, and a client that trusts it.

use std::{sync::Arc, time::Duration};

use http::Method;
use rustls::{crypto::aws_lc_rs::default_provider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use scoregate::{
    azure::{
        calls::{Calls, Why},
        cloud::{Audience, Authorities, Cloud, Known},
        control::Control,
        http::{Attempts, Body, Http, Proxies, Request},
        identity::{
            Identity, Kind, TokenEndpoint,
            assertion::AppCertificate,
            service_principal::{Application, Proof},
        },
        service::{self, ControlPlane, Name},
        url::Url,
        workspace::{Place, Workspace},
    },
    clock::Clock,
    mock_azure::{MockAzure, Options, PortFile},
    secret::Secret,
};
use serde_json::{Value, json};

pub struct World {
    mock: MockAzure,
    pub clock: Clock,
    pub http: Http,
}

impl World {
    /// With time as it is.
    pub async fn start() -> Self {
        Self::start_with(Clock::system(), Attempts::FEW).await
    }

    /// With a clock of its own, which the mock and the client share.
    pub async fn start_with(clock: Clock, attempts: Attempts) -> Self {
        Self::of_options(Options { tls: true, clock: clock.clone(), ..Options::default() }, clock, attempts).await
    }

    /// One that starts from a fixture.
    pub async fn of_fixture(fixture: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fixture.json");
        std::fs::write(&path, fixture.to_string()).unwrap();
        let options = Options { tls: true, fixture: Some(path), ..Options::default() };
        Self::of_options(options, Clock::system(), Attempts::FEW).await
    }

    /// The mock goes by the system's clock, the client by another.
    pub async fn with_a_clock_of_our_own(clock: Clock) -> Self {
        Self::of_options(Options { tls: true, ..Options::default() }, clock, Attempts::FEW).await
    }

    async fn of_options(options: Options, clock: Clock, attempts: Attempts) -> Self {
        let mock = MockAzure::start(options).await.unwrap();
        let http = Http::new(Proxies::none(), clock.clone(), attempts);
        Self { mock, clock, http }
    }

    pub fn ports(&self) -> &PortFile {
        self.mock.port_file()
    }

    /// The client as an identity makes it for itself: the mock's CA is trusted.
    pub fn http_with_ca(&self) -> Http {
        self.http.trusting(self.cloud().trust())
    }

    pub fn cloud(&self) -> Cloud {
        let ports = self.ports();
        let url = |text: &Option<String>| Url::parse(text.as_ref().unwrap()).unwrap();
        let manager = url(&ports.arm_tls);
        Cloud {
            authority: url(&ports.entra_tls),
            audience: Audience::new("https://management.azure.com"),
            resource_manager: manager,
            ca: Some(self.ca()),
            ..Known::Public.cloud()
        }
    }

    pub fn ca(&self) -> Authorities {
        let pem = std::fs::read(self.ports().ca_file.as_ref().unwrap()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).map(Result::unwrap));
        Authorities { roots: Arc::new(roots), digest: [7; 32] }
    }

    pub fn application(&self, proof: Proof) -> Kind {
        let PortFile { tenant, client_id, .. } = self.ports();
        Kind::Application(Application { tenant: tenant.clone(), client: client_id.clone(), proof })
    }

    pub fn by_secret(&self) -> Kind {
        self.application(Proof::Secret(Secret::new(self.ports().client_secret.clone().into_bytes())))
    }

    pub fn identity(&self, kind: Kind) -> Identity {
        Identity { name: "default".into(), kind, cloud: self.cloud(), endpoint: TokenEndpoint::V2 }
    }

    pub fn place(&self) -> Place {
        let PortFile { subscription, resource_group, workspace, .. } = self.ports();
        Place {
            subscription: subscription.clone(),
            resource_group: Some(resource_group.clone()),
            name: workspace.clone(),
        }
    }

    pub fn control(&self, identity: &Identity) -> Arc<Control> {
        Arc::new(Control::new(&self.http, identity.tokens(&self.http), identity.cloud.clone()))
    }

    pub fn workspace(&self, place: Place) -> Arc<Workspace> {
        Arc::new(Workspace::new(self.control(&self.identity(self.by_secret())), place))
    }

    pub fn service(&self, name: &str, kind: service::Kind) -> Arc<dyn ControlPlane> {
        service::connect(self.workspace(self.place()), Name { name: name.into(), kind })
    }

    /// Asks or tells the mock something.
    pub async fn order(&self, method: Method, path: &str, body: Value) -> Value {
        let url = Url::parse(&format!("{}{path}", self.ports().admin)).unwrap();
        let body = Body::Json(Secret::new(body.to_string().into_bytes()));
        let request = Request { method, body, ..Request::get(Why::Probe, format!("order {path}"), url) };
        let reply = self.http.call(request, &mut Calls::default()).await.unwrap();
        reply.success().unwrap().json("an answer").unwrap()
    }

    pub async fn misbehave(&self, fault: Value) {
        self.order(Method::PUT, "/faults", fault).await;
    }

    pub async fn behave(&self) {
        self.order(Method::DELETE, "/faults", json!({})).await;
    }

    /// How a service behaves from now on.
    pub async fn tell(&self, service: &str, change: Value) {
        self.order(Method::PUT, &format!("/services/{service}"), change).await;
    }

    /// A service's keys as they are.
    pub async fn keys(&self, service: &str) -> [String; 2] {
        let told = self.order(Method::GET, &format!("/services/{service}"), json!({})).await;
        ["primaryKey", "secondaryKey"].map(|key| told["keys"][key].as_str().unwrap().to_owned())
    }

    /// How many calls of a name one side has seen.
    pub async fn seen(&self, side: &str, call: &str) -> u64 {
        let seen = self.order(Method::GET, "/seen", json!({})).await;
        seen["calls"][side][call].as_u64().unwrap_or(0)
    }
}

/// The application's certificate.
pub fn by_certificate(world: &World) -> Proof {
    let files = &world.ports().certificate;
    let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let key = default_provider().key_provider.load_private_key(key).unwrap();
    Proof::Certificate(AppCertificate {
        key: Arc::new(CertifiedKey::new(chain, key)),
        digest: [1; 32],
        send_chain: false,
    })
}

/// Lets simulated time pass while something goes on, and says how much did.
pub async fn pass_while<T>(clock: &Clock, work: impl Future<Output = T>) -> (T, Duration) {
    let began = clock.now();
    let mut work = std::pin::pin!(work);
    let done = super::support::in_time("simulated time", async {
        loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = tokio::time::sleep(Duration::from_millis(5)) => clock.advance(Duration::from_millis(100)),
            }
        }
    })
    .await;
    (done, clock.now().since(began))
}
