//! From a resolved configuration to a snapshot, carrying over what did not change.
//!
//! Called by `publish` alone. Nothing here reads files: secrets and certificates came with the configuration. Building cannot
//! touch the snapshot in force; where it fails, that one stays.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
};

use anyhow::{Context, bail};
use http::{HeaderName, HeaderValue};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateRevocationListDer, ServerName, TrustAnchor};
use tokio::sync::Semaphore;

use super::{
    attach::{self, Attached},
    issuers::known::Issuers,
    listening::{self, ListenerKey},
    played::Faces,
    quotas::ByName,
};
use crate::{
    azure::service::Kind,
    config::model::{self, Config},
    ids::{BackendId, ClientTrustId, EndpointId, Generation, ListenerId, ValueId},
    proxy::{
        auth::{
            CallerEntry, CallerPolicy, CredentialHeader, Grounds, KeyGrant, Proof,
            certificate::{CertificateRules, ClientTrust},
        },
        credential::{AttachedValue, Attachment, Care, Offered, Trials},
        limit::Limiter,
        path::Special,
        route::{Action, Forward, PathMatch, Rewrite, Route, RouteTable},
        tls::CertificatesByName,
        upstream::{Addresses, Backend, BackendTls, Endpoint, Protocol, Upstream, admission::Admission},
    },
    rotation::{ladder::Replay, offer::Offer},
    snapshot::{Access, Limits, ListenerPolicy, Network, Snapshot, Timeouts},
};

/// What is remembered from one build to the next, so that what did not change keeps its identity, hence its connections.
#[derive(Debug, Default)]
pub struct Carried {
    endpoints: HashMap<String, EndpointId>,
    admissions: HashMap<EndpointId, Arc<Admission>>,
    trials: HashMap<EndpointId, Arc<Trials>>,
    backends: HashMap<BackendKey, Arc<Backend>>,
    /// Identities of values, by what they are attached as. A digest, so that no value outlives its configuration here.
    values: HashMap<(EndpointId, [u8; 32]), ValueId>,
    listeners: HashMap<ListenerKey, CarriedListener>,
    issuers: Issuers,
    /// Services that are played, by name.
    faces: Faces,
    /// Names of callers that are such services, by position.
    services: Vec<Option<String>>,
    /// By `caller NAME` and `route NAME`.
    limits: HashMap<String, Arc<Limiter>>,
    /// What upstreams' names lead to, as far as they were looked up.
    names: HashMap<String, Vec<IpAddr>>,
    roots: Option<Arc<rustls::RootCertStore>>,
}

/// A listener's identity, and its TLS with what decides whether that is still the same.
type CarriedListener = (ListenerId, Option<TlsKey>, Option<ServerTls>);

/// How a listener shakes hands.
#[derive(Debug, Clone)]
struct ServerTls {
    config: Arc<rustls::ServerConfig>,
    /// Which certificate a name gets.
    by_name: Arc<CertificatesByName>,
    /// Whose client certificates are believed.
    trust: Option<Arc<ClientTrust>>,
}

/// Everything that decides whether two configurations mean the same connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BackendKey {
    endpoint: EndpointId,
    url: model::UpstreamUrl,
    protocol: model::UpstreamProtocol,
    ca: Option<[u8; 32]>,
    server_name: Option<String>,
    client_certificate: Option<[u8; 32]>,
    idle: std::time::Duration,
    max_age: std::time::Duration,
    max_connections: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TlsKey {
    certificates: Vec<[u8; 32]>,
    client_auth: model::ClientAuth,
    /// Sessions are resumed with the client chain of their ticket, so other CAs mean another configuration, other ticket keys.
    client_ca: Option<Vec<TrustAnchor<'static>>>,
    client_crl: Vec<CertificateRevocationListDer<'static>>,
    h1: bool,
    h2: bool,
}

impl Carried {
    /// Builds a snapshot. What the configuration no longer names is forgotten.
    ///
    /// # Errors
    /// Where a value that resolved cannot be used after all, naming it.
    pub fn build(
        &mut self,
        config: &Config,
        attached: &Attached,
        generation: Generation,
        workers: usize,
    ) -> anyhow::Result<Snapshot> {
        let mut next = Self { roots: self.roots.clone(), faces: self.faces.clone(), ..Self::default() };
        let listeners = config
            .listeners
            .iter()
            .map(|listener| next.listener(self, listener).with_context(|| format!("listener `{}`", listener.name)))
            .collect::<anyhow::Result<Arc<[_]>>>()?;
        let endpoints = config
            .endpoints
            .iter()
            .map(|endpoint| {
                next.endpoint(self, endpoint, attached, workers)
                    .with_context(|| format!("endpoint `{}`", endpoint.name))
            })
            .collect::<anyhow::Result<Box<[_]>>>()?;
        let names = Names::of(config, &listeners);
        let mut routes = RouteTable::default();
        for (index, route) in config.routes.iter().enumerate() {
            let path = match &route.path {
                model::PathMatch::Exact(path) => PathMatch::Exact(path.clone()),
                model::PathMatch::Prefix(prefix) => PathMatch::Prefix(prefix.clone()),
            };
            let limits = match &route.action {
                model::Action::Forward(forward) => {
                    let name = format!("route {}", route.name);
                    next.limits(self, name, forward.limits.as_ref(), forward.callers.len())
                }
                model::Action::Deny => None,
            };
            let built =
                build_route(config, &names, index, route, limits).with_context(|| format!("route `{}`", route.name))?;
            routes.insert(&route.host, &path, built);
        }
        let snapshot = Snapshot {
            generation,
            routes: Arc::new(routes),
            keys: Arc::new(caller_keys(config).collect()),
            callers: config.callers.iter().map(|caller| next.caller(self, caller)).collect(),
            grounds: Arc::new(next.grounds()),
            evictions: config.callers.iter().map(|caller| caller.evict_after).collect(),
            endpoints,
            listeners,
            stripped: stripped_headers(config)?,
            limits: Limits {
                head: config.limits.head,
                fields: config.limits.fields,
                h2_streams: config.limits.h2_streams,
                token_waiters: config.limits.token_waiters,
            },
            timeouts: timeouts(&config.timeouts),
            access: match config.log.access {
                model::Access::Off => Access::Off,
                model::Access::Errors => Access::Errors,
                model::Access::All => Access::All,
            },
        };
        *self = next;
        Ok(snapshot)
    }

    /// The issuers whose keys are looked after.
    #[must_use]
    pub const fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The same, to note what they publish.
    pub const fn issuers_mut(&mut self) -> &mut Issuers {
        &mut self.issuers
    }

    /// What callers are judged by, besides the snapshot's own.
    #[must_use]
    pub fn grounds(&self) -> Grounds {
        let face = |name: &Option<String>| self.faces.get(name.as_ref()?).cloned();
        Grounds { issuers: self.issuers.keys(), services: self.services.iter().map(face).collect() }
    }

    /// Notes what callers of services that are played are judged by.
    pub fn play(&mut self, faces: Faces) {
        self.faces = faces;
    }

    /// What is limited.
    #[must_use]
    pub fn quotas(&self) -> ByName {
        let limited = self.limits.iter().filter(|(_, limits)| limits.quota().is_some());
        limited.map(|(name, limits)| (name.clone(), Arc::clone(limits))).collect()
    }

    /// The limits of a caller or route. What has been used and is in flight is carried over, whatever changed.
    fn limits(
        &mut self,
        before: &Self,
        name: String,
        allowed: Option<&model::CallLimits>,
        callers: usize,
    ) -> Option<Arc<Limiter>> {
        let allowed = allowed?;
        let known = before.limits.get(&name);
        let limits = known
            .filter(|known| known.are(allowed, callers))
            .map_or_else(|| Arc::new(Limiter::new(allowed.clone(), callers, known.map(|known| &**known))), Arc::clone);
        self.limits.insert(name, Arc::clone(&limits));
        Some(limits)
    }

    fn caller(&mut self, before: &Self, caller: &model::Caller) -> CallerEntry {
        let rules = self.issuers.add(&before.issuers, &caller.name, &caller.kind);
        let proof = match (&caller.kind, rules) {
            (model::CallerKind::Anonymous, _) => Proof::Anonymous,
            (model::CallerKind::Service(_), managers) => Proof::Service { managers },
            (_, Some(rules)) => Proof::Token(rules),
            (model::CallerKind::Certificate(rules), None) => Proof::Certificate(CertificateRules {
                names: rules.names.clone(),
                fingerprints: rules.fingerprints.clone(),
            }),
            (model::CallerKind::Keys(_) | model::CallerKind::Token(_), None) => Proof::Keys,
        };
        let played = matches!(caller.kind, model::CallerKind::Service(_)).then(|| caller.name.clone());
        self.services.push(played);
        let limits = self.limits(before, format!("caller {}", caller.name), caller.limits.as_ref(), 1);
        CallerEntry { name: caller.name.as_str().into(), proof, limits }
    }

    /// Notes what a name leads to.
    pub fn name_leads_to(&mut self, name: &str, addresses: &[IpAddr]) {
        self.names.insert(name.to_owned(), addresses.to_vec());
    }

    /// An endpoint with its upstreams where their names lead to now; none where that is where they were.
    #[must_use]
    pub fn readdressed(&self, endpoint: &Endpoint) -> Option<Endpoint> {
        let addresses = |upstream: &Upstream| self.addresses(&upstream.backend.host, upstream.backend.port);
        if endpoint.upstreams.iter().all(|upstream| addresses(upstream) == upstream.addresses) {
            return None;
        }
        let mut moved = endpoint.clone();
        for upstream in &mut moved.upstreams {
            upstream.addresses = addresses(upstream);
        }
        Some(moved)
    }

    fn addresses(&self, host: &str, port: u16) -> Addresses {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some([SocketAddr::new(address, port)].into());
        }
        let addresses = self.names.get(host)?;
        Some(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }

    /// The identity of an endpoint that was built.
    #[must_use]
    pub fn endpoint_id(&self, name: &str) -> Option<EndpointId> {
        self.endpoints.get(name).copied()
    }

    /// The identity of a listener that was built.
    #[must_use]
    pub fn listener_id(&self, listener: &model::Listener) -> Option<ListenerId> {
        self.listeners.get(&listening::key(listener)).map(|(id, ..)| *id)
    }

    fn listener(&mut self, before: &Self, listener: &model::Listener) -> anyhow::Result<Arc<ListenerPolicy>> {
        let key = listening::key(listener);
        let tls_key = listener.tls.as_ref().map(|tls| TlsKey {
            certificates: tls.certificates.iter().map(|certificate| certificate.digest).collect(),
            client_auth: tls.client_auth,
            client_ca: tls.client_ca.as_ref().map(|roots| roots.roots.clone()),
            client_crl: tls.client_crl.clone(),
            h1: listener.h1,
            h2: listener.h2,
        });
        let (id, tls) = match before.listeners.get(&key) {
            // The same TLS configuration keeps its session tickets.
            Some((id, same, tls)) if *same == tls_key => (*id, tls.clone()),
            known => {
                let id = known.map_or_else(ListenerId::fresh, |(id, ..)| *id);
                (id, listener.tls.as_ref().map(|tls| server_tls(listener, tls)).transpose()?)
            }
        };
        self.listeners.insert(key, (id, tls_key, tls.clone()));
        let several = listener.tls.as_ref().is_some_and(|tls| tls.certificates.len() > 1);
        let client_trust = tls.as_ref().and_then(|tls| tls.trust.clone());
        Ok(Arc::new(ListenerPolicy {
            id,
            name: listener.name.as_str().into(),
            h1: listener.h1,
            h2: listener.h2,
            certificates: tls.as_ref().map(|tls| Arc::clone(&tls.by_name)).filter(|_| several),
            tls: tls.map(|tls| tls.config),
            client_trust,
            hosts: listener.hosts.iter().map(|host| host.as_str().into()).collect(),
            trusted_proxies: listener
                .trusted_proxies
                .iter()
                .map(|network| Network { address: network.address, prefix: network.prefix })
                .collect(),
            trusts_local: listener.trusts_local,
            proxy_protocol: listener.proxy_protocol,
            half_close: listener.half_close,
        }))
    }

    fn endpoint(
        &mut self,
        before: &Self,
        endpoint: &model::Endpoint,
        attached: &Attached,
        workers: usize,
    ) -> anyhow::Result<Arc<Endpoint>> {
        let id = before.endpoints.get(&endpoint.name).copied().unwrap_or_else(EndpointId::fresh);
        self.endpoints.insert(endpoint.name.clone(), id);
        let admission = before
            .admissions
            .get(&id)
            .filter(|admission| admission.is_for(endpoint.concurrency, endpoint.queue))
            .map_or_else(|| Arc::new(Admission::new(endpoint.concurrency, endpoint.queue, workers)), Arc::clone);
        self.admissions.insert(id, Arc::clone(&admission));
        let trials = before.trials.get(&id).cloned().unwrap_or_default();
        self.trials.insert(id, Arc::clone(&trials));
        let upstreams = endpoint
            .upstreams
            .iter()
            .map(|url| {
                if let Some(known) = before.names.get(&url.host) {
                    self.names.insert(url.host.clone(), known.clone());
                }
                let backend = self
                    .backend(before, id, endpoint, url)
                    .with_context(|| format!("upstream {}:{}", url.host, url.port))?;
                Ok(Upstream { backend, addresses: self.addresses(&url.host, url.port) })
            })
            .collect::<anyhow::Result<Box<[_]>>>()?;
        Ok(Arc::new(Endpoint {
            id,
            name: endpoint.name.as_str().into(),
            upstreams,
            attachment: self.attachment(before, id, endpoint, attached)?,
            replay: replay(endpoint),
            trials,
            retry_unanswered: endpoint.retry_unanswered,
            admission,
        }))
    }

    fn attachment(
        &mut self,
        before: &Self,
        id: EndpointId,
        endpoint: &model::Endpoint,
        attached: &Attached,
    ) -> anyhow::Result<Attachment> {
        let (primary, secondary, active) = match &endpoint.credential {
            model::Credential::None => return Ok(Attachment::Nothing),
            model::Credential::OfService => {
                let known = attached.get(&endpoint.name);
                return known.map_or(Ok(Attachment::Awaited), |attach| attach::attachment(endpoint, attach));
            }
            model::Credential::Keys { primary, secondary, active } => (primary, secondary, *active),
        };
        let mut values = Vec::new();
        let mut offered = |slot: model::Slot| {
            let Some(key) = (match slot {
                model::Slot::Primary => primary,
                model::Slot::Secondary => secondary,
            }) else {
                return Ok(None);
            };
            let value = attach::field_value(endpoint, key)?;
            let digest = (id, crate::digest::sha256(value.as_bytes()));
            let known = self.values.get(&digest).or_else(|| before.values.get(&digest));
            let value_id = known.copied().unwrap_or_else(ValueId::fresh);
            self.values.insert(digest, value_id);
            values.push(AttachedValue { id: value_id, slot: slot.label(), value });
            anyhow::Ok(Some(value_id))
        };
        let Some(first) = offered(active)? else { bail!("the active slot has no key") };
        // The other one is for those who are sent again.
        let other = if replay(endpoint) == Replay::On { offered(active.other())? } else { None };
        Ok(Attachment::Offered(Arc::new(Offered {
            header: attach::header(endpoint)?,
            values: values.into(),
            offer: Offer::fixed(1, first, other),
            until: None,
            care: Care::ByHand,
        })))
    }

    fn backend(
        &mut self,
        before: &Self,
        id: EndpointId,
        endpoint: &model::Endpoint,
        url: &model::UpstreamUrl,
    ) -> anyhow::Result<Arc<Backend>> {
        let connect = &endpoint.connect;
        let key = BackendKey {
            endpoint: id,
            url: url.clone(),
            protocol: connect.protocol,
            ca: connect.ca.as_ref().map(|(_, digest)| *digest),
            server_name: connect.server_name.clone(),
            client_certificate: connect.client_certificate.as_ref().map(|certificate| certificate.digest),
            idle: connect.idle,
            max_age: connect.max_age,
            max_connections: connect.max_connections,
        };
        let backend = match before.backends.get(&key) {
            Some(backend) => Arc::clone(backend),
            None => Arc::new(self.new_backend(connect, url)?),
        };
        self.backends.insert(key, Arc::clone(&backend));
        Ok(backend)
    }

    fn new_backend(&mut self, connect: &model::UpstreamConnect, url: &model::UpstreamUrl) -> anyhow::Result<Backend> {
        let tls = match url.tls {
            true => {
                let config = self.client_tls(connect)?;
                let mut h1 = config.clone();
                h1.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some(BackendTls { config: Arc::new(config), h1: Arc::new(h1), name: server_name(connect, url)? })
            }
            false => None,
        };
        let base = url.path.rfind('/').and_then(|at| url.path.get(..=at)).unwrap_or("/");
        Ok(Backend {
            id: BackendId::fresh(),
            host: url.host.as_str().into(),
            port: url.port,
            authority: authority(url)?,
            base: base.into(),
            tls,
            protocol: match (connect.protocol, url.tls) {
                (model::UpstreamProtocol::Auto, true) => Protocol::Negotiated,
                (model::UpstreamProtocol::Auto, false) | (model::UpstreamProtocol::H1, _) => Protocol::H1,
                (model::UpstreamProtocol::H2 | model::UpstreamProtocol::H2c, _) => Protocol::H2,
            },
            idle: connect.idle,
            max_age: connect.max_age,
            connections: Arc::new(Semaphore::new(connect.max_connections.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
        })
    }

    fn client_tls(&mut self, connect: &model::UpstreamConnect) -> anyhow::Result<rustls::ClientConfig> {
        let roots = match &connect.ca {
            Some((roots, _)) => Arc::clone(roots),
            None => self.platform_roots()?,
        };
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut config = match &connect.client_certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                Arc::clone(&certificate.key),
            ))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match connect.protocol {
            model::UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            model::UpstreamProtocol::H1 => vec![b"http/1.1".to_vec()],
            model::UpstreamProtocol::H2 | model::UpstreamProtocol::H2c => vec![b"h2".to_vec()],
        };
        Ok(config)
    }

    /// Read once, when the first upstream without a CA of its own needs them.
    fn platform_roots(&mut self) -> anyhow::Result<Arc<rustls::RootCertStore>> {
        if let Some(roots) = &self.roots {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            bail!(
                "this machine has no root certificates: install `ca-certificates`, or name a file in `upstream.tls.ca`"
            );
        }
        Ok(Arc::clone(self.roots.insert(Arc::new(roots))))
    }
}

fn server_tls(listener: &model::Listener, tls: &model::ListenerTls) -> anyhow::Result<ServerTls> {
    let named = tls.certificates.iter().map(|certificate| (certificate.names.clone(), Arc::clone(&certificate.key)));
    let by_name = Arc::new(CertificatesByName::new(named));
    let builder = rustls::ServerConfig::builder();
    let (builder, trust) = match (tls.client_auth, &tls.client_ca) {
        (model::ClientAuth::Off, _) | (_, None) => (builder.with_no_client_auth(), None),
        (demand, Some(roots)) => {
            let verifier = WebPkiClientVerifier::builder(Arc::clone(roots)).with_crls(tls.client_crl.iter().cloned());
            let verifier =
                if demand == model::ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().context("`client_ca` or `client_crl` cannot be used")?;
            let trust = ClientTrust { id: ClientTrustId::fresh(), verifier: Arc::clone(&verifier) };
            (builder.with_client_cert_verifier(verifier), Some(Arc::new(trust)))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::<CertificatesByName>::clone(&by_name));
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().context("no session tickets")?;
    let offered = [(listener.h2, &b"h2"[..]), (listener.h1, b"http/1.1")];
    config.alpn_protocols = offered.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_vec()).collect();
    Ok(ServerTls { config: Arc::new(config), by_name, trust })
}

fn server_name(connect: &model::UpstreamConnect, url: &model::UpstreamUrl) -> anyhow::Result<ServerName<'static>> {
    let name = connect.server_name.as_ref().unwrap_or(&url.host);
    ServerName::try_from(name.clone()).with_context(|| format!("`{name}` is not a name that TLS can verify"))
}

/// Host and, where it is not the scheme's own, port.
fn authority(url: &model::UpstreamUrl) -> anyhow::Result<http::uri::Authority> {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let usual = if url.tls { 443 } else { 80 };
    let text = if url.port == usual { host } else { format!("{host}:{}", url.port) };
    text.parse().with_context(|| format!("`{text}` is not a host"))
}

/// Positions of what routes name.
struct Names<'c> {
    callers: HashMap<&'c str, usize>,
    endpoints: HashMap<&'c str, usize>,
    listeners: HashMap<&'c str, ListenerId>,
}

impl<'c> Names<'c> {
    fn of(config: &'c Config, listeners: &[Arc<ListenerPolicy>]) -> Self {
        let ids = config.listeners.iter().zip(listeners).map(|(listener, built)| (listener.name.as_str(), built.id));
        Self {
            callers: config.callers.iter().enumerate().map(|(at, caller)| (caller.name.as_str(), at)).collect(),
            endpoints: config.endpoints.iter().enumerate().map(|(at, endpoint)| (endpoint.name.as_str(), at)).collect(),
            listeners: ids.collect(),
        }
    }
}

fn build_route(
    config: &Config,
    names: &Names<'_>,
    index: usize,
    route: &model::Route,
    limits: Option<Arc<Limiter>>,
) -> anyhow::Result<Route> {
    let listener =
        |name: &String| names.listeners.get(name.as_str()).copied().with_context(|| format!("no listener `{name}`"));
    let allow = route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    let matched = match &route.path {
        model::PathMatch::Exact(path) | model::PathMatch::Prefix(path) => path.trim_end_matches('/'),
    };
    Ok(Route {
        name: route.name.as_str().into(),
        index,
        methods: route.methods.clone().into(),
        allow: HeaderValue::from_str(&allow).context("methods")?,
        listeners: route.listeners.iter().map(listener).collect::<anyhow::Result<_>>()?,
        matched: matched.into(),
        action: match &route.action {
            model::Action::Deny => Action::Deny,
            model::Action::Forward(forward) => {
                Action::Forward(Box::new(Forward { limits, ..build_forward(config, names, forward)? }))
            }
        },
    })
}

fn build_forward(config: &Config, names: &Names<'_>, forward: &model::Forward) -> anyhow::Result<Forward> {
    let caller =
        |name: &String| names.callers.get(name.as_str()).copied().with_context(|| format!("no caller `{name}`"));
    let allowed: Box<[usize]> = forward.callers.iter().map(caller).collect::<anyhow::Result<_>>()?;
    let header_name = |name: &String| {
        HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("`{name}` is not a field name"))
    };
    let endpoint = names
        .endpoints
        .get(forward.endpoint.as_str())
        .copied()
        .with_context(|| format!("no endpoint `{}`", forward.endpoint))?;
    Ok(Forward {
        callers: CallerPolicy {
            allowed,
            headers: forward
                .caller_headers
                .iter()
                .map(|header| match header {
                    model::CallerHeader::Authorization => CredentialHeader::Authorization,
                    model::CallerHeader::XApiKey => CredentialHeader::XApiKey,
                    model::CallerHeader::ApiKey => CredentialHeader::ApiKey,
                })
                .collect(),
        },
        endpoint,
        attach: forward.attach,
        rewrite: rewrite(forward, config.endpoints.get(endpoint)),
        identity_header: forward.identity_header.as_ref().map(header_name).transpose()?,
        limits: None,
        timeout: forward.timeout.unwrap_or(config.timeouts.request),
        body: forward.body.unwrap_or(config.limits.body),
        replay_body: forward.replay_body.unwrap_or(config.limits.replay_body),
        trailers: forward.trailers.iter().map(header_name).collect::<anyhow::Result<_>>()?,
        special: special(forward.path_chars),
        websocket: forward.websocket,
    })
}

/// ACI's containers and upstreams by hand have no front end of Azure's before them: there a 401 may be the model's.
fn replay(endpoint: &model::Endpoint) -> Replay {
    match (endpoint.replay, &endpoint.service) {
        (model::Replay::On, _) => Replay::On,
        (model::Replay::Off, _) | (model::Replay::Auto, None) => Replay::Off,
        (model::Replay::Auto, Some(service)) if service.name.kind == Kind::Aci => Replay::Off,
        (model::Replay::Auto, Some(_)) => Replay::On,
    }
}

/// Without a `rewrite`, what a route to a service of Azure's matches stands for the scoring path itself.
fn rewrite(forward: &model::Forward, endpoint: Option<&model::Endpoint>) -> Rewrite {
    if let Some(prefix) = &forward.rewrite_prefix {
        return Rewrite::Prefix(prefix.as_str().into());
    }
    let service = endpoint.filter(|endpoint| endpoint.service.is_some());
    let scoring = service.and_then(|endpoint| endpoint.upstreams.first());
    let leaf = scoring.and_then(|url| url.path.get(url.path.rfind('/')?..));
    leaf.map_or(Rewrite::Keep, |leaf| Rewrite::Scoring(leaf.into()))
}

fn special(allowed: model::PathChars) -> Special {
    let parts = [
        (allowed.semicolon, Special::SEMICOLON),
        (allowed.backslash, Special::BACKSLASH),
        (allowed.encoded_slash, Special::ENCODED_SLASH),
        (allowed.encoded_backslash, Special::ENCODED_BACKSLASH),
    ];
    parts.into_iter().filter(|(on, _)| *on).fold(Special::NONE, |all, (_, one)| all.with(one))
}

fn caller_keys(config: &Config) -> impl Iterator<Item = ([u8; 32], KeyGrant)> {
    config.callers.iter().enumerate().flat_map(|(caller, entry)| {
        let keys: &[model::CallerKey] = match &entry.kind {
            model::CallerKind::Keys(keys) => keys,
            model::CallerKind::Anonymous
            | model::CallerKind::Token(_)
            | model::CallerKind::Certificate(_)
            | model::CallerKind::Service(_) => &[],
        };
        keys.iter().map(move |key| {
            let (not_before, expires) = (key.not_before.unwrap_or(0), key.expires.unwrap_or(u64::MAX));
            let grant = KeyGrant { caller, name: key.name.clone(), not_before, expires };
            (key.sha256, grant)
        })
    })
}

/// Attach and identity headers of the whole configuration, but for those that are removed from every request anyway.
fn stripped_headers(config: &Config) -> anyhow::Result<Arc<[HeaderName]>> {
    let attach = config.endpoints.iter().map(|endpoint| &endpoint.attach_header);
    let identity = config.routes.iter().filter_map(|route| match &route.action {
        model::Action::Forward(forward) => forward.identity_header.as_ref(),
        model::Action::Deny => None,
    });
    let mut names: Vec<HeaderName> = Vec::new();
    for name in attach.chain(identity) {
        let name = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("`{name}` is not a field name"))?;
        let always = CredentialHeader::ALL.iter().any(|header| header.name() == name);
        if !always && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names.into())
}

fn timeouts(timeouts: &model::Timeouts) -> Timeouts {
    Timeouts {
        tls_handshake: timeouts.tls_handshake,
        request_head: timeouts.request_head,
        idle: timeouts.idle,
        request: timeouts.request,
        connect: timeouts.connect,
        response_head: timeouts.response_head,
        stall: timeouts.stall,
        stream_idle: timeouts.stream_idle,
    }
}
