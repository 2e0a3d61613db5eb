//! Which route a request takes: host, then path, then listener, then method. Built once, never changed.
//!
//! Built by `control::build`, asked by `decide`. Paths are canonical on both sides.

use hashbrown::HashMap;
use http::Method;

use super::{auth::CallerPolicy, limit::Limiter, path::Special, reject::Reject};
use crate::ids::ListenerId;

/// What a route does with a request that may pass.
#[derive(Debug)]
pub struct Route {
    /// Label of metrics and logs.
    pub name: Box<str>,
    /// Position in the snapshot's list, for tables beside it.
    pub index: usize,
    /// Allowed methods; empty = all.
    pub methods: Box<[Method]>,
    /// Value of `allow` in a 405.
    pub allow: http::HeaderValue,
    /// Where it applies; empty = every listener.
    pub listeners: Box<[ListenerId]>,
    /// The matched path without what is below it; empty for `/`.
    pub matched: Box<str>,
    /// What it does.
    pub action: Action,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// 403 to everyone.
    Deny,
    /// Forwards.
    Forward(Box<Forward>),
}

/// How a route forwards.
#[derive(Debug)]
pub struct Forward {
    /// Who may use it.
    pub callers: CallerPolicy,
    /// Position of the endpoint in the snapshot.
    pub endpoint: usize,
    /// Whether the endpoint's credential is attached.
    pub attach: bool,
    /// What becomes of the path.
    pub rewrite: Rewrite,
    /// Header that tells the upstream who the caller is.
    pub identity_header: Option<http::HeaderName>,
    /// How much it is asked.
    pub limits: Option<std::sync::Arc<Limiter>>,
    /// From the head to the response head.
    pub timeout: std::time::Duration,
    /// Largest body, bytes.
    pub body: u64,
    /// Largest body held for a resend, bytes.
    pub replay_body: u64,
    /// Request trailers that pass.
    pub trailers: Box<[http::HeaderName]>,
    /// Special characters that may be in the path.
    pub special: Special,
    /// Connections may become WebSockets.
    pub websocket: bool,
}

/// What becomes of a path before it is joined to the upstream's base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    Keep,
    /// This stands in place of what matched.
    Prefix(Box<str>),
    /// What matched is the scoring path, of which this is the last segment with the slash before it; `swagger.json` is beside it.
    Scoring(Box<str>),
}

/// Where a route applies, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path alone.
    Exact(String),
    /// This path and what is below it, on segment borders.
    Prefix(String),
}

/// All routes, by host and path.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    exact_hosts: HashMap<Box<str>, PathTree>,
    /// Suffixes such as `.example.com`, longest first.
    wildcard_hosts: Vec<(Box<str>, PathTree)>,
    any_host: PathTree,
    has_websockets: bool,
}

/// Routes of one host. Positions into `RouteTable::routes`, several where listeners or methods differ.
#[derive(Debug, Default)]
struct PathTree {
    exact: HashMap<Box<str>, Vec<usize>>,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    routes: Vec<usize>,
    children: HashMap<Box<str>, Node>,
}

impl RouteTable {
    /// Whether any route lets connections become WebSockets.
    #[must_use]
    pub fn has_websockets(&self) -> bool {
        self.has_websockets
    }

    /// Adds a route. `host` is `*`, `*.suffix` or an exact name in lower case.
    pub fn insert(&mut self, host: &str, path: &PathMatch, route: Route) {
        let position = self.routes.len();
        self.has_websockets |= matches!(&route.action, Action::Forward(forward) if forward.websocket);
        self.routes.push(route);
        let tree = if host == "*" {
            &mut self.any_host
        } else if let Some(suffix) = host.strip_prefix('*') {
            let at = match self.wildcard_hosts.iter().position(|(s, _)| **s == *suffix) {
                Some(at) => at,
                None => {
                    let at = self.wildcard_hosts.partition_point(|(s, _)| s.len() >= suffix.len());
                    self.wildcard_hosts.insert(at, (suffix.into(), PathTree::default()));
                    at
                }
            };
            match self.wildcard_hosts.get_mut(at) {
                Some((_, tree)) => tree,
                None => return,
            }
        } else {
            self.exact_hosts.entry(host.into()).or_default()
        };
        match path {
            PathMatch::Exact(path) => tree.exact.entry(path.as_str().into()).or_default().push(position),
            PathMatch::Prefix(prefix) => {
                let mut node = &mut tree.root;
                for segment in prefix.split('/').filter(|s| !s.is_empty()) {
                    node = node.children.entry(segment.into()).or_default();
                }
                node.routes.push(position);
            }
        }
    }

    /// Every route, in the order of the configuration.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of a request; `host` as the client wrote it, without port, `path` canonical.
    ///
    /// # Errors
    /// `no_route`; `method_not_allowed` with the route whose `allow` the answer lists. A method that is not allowed never
    /// falls through to a less specific route.
    pub fn find(&self, listener: ListenerId, host: &str, path: &str, method: &Method) -> Result<&Route, NotFound<'_>> {
        let mut lower = [0_u8; 256];
        let host = lower_case(host, &mut lower);
        let trees = self
            .exact_hosts
            .get(host)
            .into_iter()
            .chain(self.wildcard_hosts.iter().filter(|(suffix, _)| is_below(host, suffix)).map(|(_, tree)| tree))
            .chain([&self.any_host]);
        for tree in trees {
            if let Some(candidates) = tree.find(path, |at| self.serves(at, listener)) {
                return self.by_method(candidates, listener, method);
            }
        }
        Err(NotFound { reject: Reject::NoRoute, route: None })
    }

    fn serves(&self, at: usize, listener: ListenerId) -> bool {
        self.routes.get(at).is_some_and(|route| route.listeners.is_empty() || route.listeners.contains(&listener))
    }

    fn by_method(&self, candidates: &[usize], listener: ListenerId, method: &Method) -> Result<&Route, NotFound<'_>> {
        let mut refused = None;
        for route in candidates.iter().filter(|at| self.serves(**at, listener)).filter_map(|at| self.routes.get(*at)) {
            if route.methods.is_empty() || route.methods.contains(method) {
                return Ok(route);
            }
            refused = refused.or(Some(route));
        }
        Err(NotFound { reject: Reject::MethodNotAllowed, route: refused })
    }
}

/// Why there is no route.
#[derive(Debug)]
pub struct NotFound<'t> {
    /// `no_route` or `method_not_allowed`.
    pub reject: Reject,
    /// For `method_not_allowed`: the route that refused.
    pub route: Option<&'t Route>,
}

impl PathTree {
    /// The most specific place that has a route for the listener: exact, else the deepest prefix.
    fn find(&self, path: &str, serves: impl Fn(usize) -> bool) -> Option<&[usize]> {
        let usable = |routes: &[usize]| routes.iter().any(|at| serves(*at));
        if let Some(routes) = self.exact.get(path).filter(|routes| usable(routes)) {
            return Some(routes);
        }
        let mut best = usable(&self.root.routes).then_some(self.root.routes.as_slice());
        let mut node = &self.root;
        for segment in path.split('/').skip(1) {
            if node.children.is_empty() {
                break;
            }
            let Some(child) = node.children.get(segment) else { break };
            node = child;
            if usable(&node.routes) {
                best = Some(&node.routes);
            }
        }
        best
    }
}

/// `a.example.com` is below `.example.com`; `.example.com` itself is not.
fn is_below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// Lower-cases into `buffer` only where needed: hosts nearly always come in lower case.
fn lower_case<'a>(host: &'a str, buffer: &'a mut [u8; 256]) -> &'a str {
    if !host.bytes().any(|b| b.is_ascii_uppercase()) {
        return host;
    }
    let Some(space) = buffer.get_mut(..host.len()) else { return host };
    space.copy_from_slice(host.as_bytes());
    space.make_ascii_lowercase();
    std::str::from_utf8(space).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, methods: &[Method], listeners: &[ListenerId]) -> Route {
        Route {
            name: name.into(),
            index: 0,
            methods: methods.into(),
            allow: http::HeaderValue::from_static(""),
            listeners: listeners.into(),
            matched: "".into(),
            action: Action::Deny,
        }
    }

    fn table(rows: &[(&str, &str, &str)]) -> RouteTable {
        let mut table = RouteTable::default();
        for (name, host, path) in rows {
            let path = match path.strip_suffix('*') {
                Some(prefix) => PathMatch::Prefix(prefix.into()),
                None => PathMatch::Exact((*path).into()),
            };
            table.insert(host, &path, route(name, &[], &[]));
        }
        table
    }

    fn find<'t>(table: &'t RouteTable, host: &str, path: &str) -> &'t str {
        table.find(ListenerId::fresh(), host, path, &Method::GET).map_or("none", |r| &r.name)
    }

    #[test]
    fn the_most_specific_host_wins_then_the_most_specific_path() {
        let table = table(&[
            ("any", "*", "/*"),
            ("any-iris", "*", "/iris*"),
            ("wild", "*.example.com", "/iris*"),
            ("wild-long", "*.eu.example.com", "/iris*"),
            ("host", "a.example.com", "/iris*"),
            ("host-exact", "a.example.com", "/iris/score"),
            ("deep", "*", "/iris/a/b*"),
        ]);
        assert_eq!(find(&table, "a.example.com", "/iris/score"), "host-exact");
        assert_eq!(find(&table, "A.Example.COM", "/iris/score/x"), "host");
        assert_eq!(find(&table, "b.example.com", "/iris"), "wild");
        assert_eq!(find(&table, "b.eu.example.com", "/iris/"), "wild-long");
        assert_eq!(find(&table, "example.com", "/iris"), "any-iris");
        assert_eq!(find(&table, "x", "/irisx"), "any", "a prefix ends on a segment border");
        assert_eq!(find(&table, "x", "/iris/a/b/c"), "deep");
        assert_eq!(find(&table, "x", "/iris/a/c"), "any-iris");
        assert_eq!(find(&table, "a.example.com", "/other"), "any", "a host without a route for the path gives way");
    }

    #[test]
    fn a_method_that_is_not_allowed_never_falls_through() {
        let listener = ListenerId::fresh();
        let mut table = table(&[("all", "*", "/*")]);
        table.insert("*", &PathMatch::Prefix("/iris".into()), route("post", &[Method::POST], &[]));
        let refused = table.find(listener, "x", "/iris", &Method::GET).expect_err("GET is not allowed");
        assert_eq!(refused.reject, Reject::MethodNotAllowed);
        assert_eq!(refused.route.map(|r| &*r.name), Some("post"));
        table.insert("*", &PathMatch::Prefix("/iris".into()), route("get", &[Method::GET], &[]));
        assert_eq!(&*table.find(listener, "x", "/iris", &Method::GET).expect("second route").name, "get");
    }

    #[test]
    fn a_route_of_another_listener_is_not_there() {
        let (public, sidecar) = (ListenerId::fresh(), ListenerId::fresh());
        let mut table = table(&[("all", "*", "/*")]);
        table.insert("*", &PathMatch::Prefix("/iris".into()), route("sidecar", &[], &[sidecar]));
        assert_eq!(&*table.find(sidecar, "x", "/iris", &Method::GET).expect("route").name, "sidecar");
        assert_eq!(&*table.find(public, "x", "/iris", &Method::GET).expect("route").name, "all");
    }

    #[test]
    fn nothing_configured_is_no_route() {
        let table = table(&[("iris", "*", "/iris*")]);
        let missing = table.find(ListenerId::fresh(), "x", "/", &Method::GET).expect_err("no route");
        assert_eq!(missing.reject, Reject::NoRoute);
    }
}
