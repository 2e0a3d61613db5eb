//! What a person gets to read about a configuration: every message, word for word, and the examples without any.
//!
//! Each `tests/config/*.yaml` has its messages in the `.expected` file beside it; `BLESS=1` writes them anew. No real
//! file, variable or clock is read: `World` has them all. Whatever is wrong, nothing that begins with `canary` in it
//! may ever be read in a message.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests: a panic is a failed test, and a test may look at the clock"
)]

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use proptest::prelude::*;
use scoregate::{
    azure::identity::{Kind, service_principal::Proof},
    config::{
        Loaded,
        fault::Faults,
        load,
        model::{Action, CallerKind, Credential, Probe, Replay, Slot},
        parse,
        sources::{Env, Files, LastGood, ProcessEnv, RealFiles},
    },
    rotation::{operation::Policy, rules::Rules, token::TokenRules},
};

/// 2026-07-01T00:00:00Z
const NOW: u64 = 1_782_864_000;

/// An application's key and certificate in one file, as `az` writes them. Looking for primes takes long enough to do it once.
static APP: LazyLock<String> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&key).unwrap();
    key.serialize_pem() + &certificate.pem()
});

/// Files and variables that tests see.
struct World {
    files: HashMap<PathBuf, Vec<u8>>,
    variables: HashMap<&'static str, &'static str>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            files: HashMap::new(),
            variables: HashMap::from([
                ("WINE_KEY", "canary-wine"),
                ("CANARY", "canary-variable"),
                ("CONTROL", "canary\u{1}variable"),
                ("EMPTY", ""),
            ]),
        };
        for key in ["admin-token", "iris-primary", "iris-secondary", "wine-primary", "batch-key"] {
            world.file(&format!("/etc/gate/secrets/{key}"), format!("canary-{key}-of-this-gate\n"));
        }
        for key in ["primary", "secondary", "team-a"] {
            world.file(&format!("/run/keys/{key}"), format!("canary-{key}-of-this-gate\n"));
            world.file(&format!("/run/secrets/scoring/{key}"), format!("canary-{key}\r\n"));
        }
        world.file("/run/keys/short", "canary");
        world.file("/run/keys/control", "canary\u{7}\n");
        world.file("/run/keys/two-lines", "canary-1\ncanary-2\n");
        world.file("/run/keys/empty", "\n");

        let names = ["models.example.com".to_owned(), "*.Models.example.com".to_owned()];
        let server = rcgen::generate_simple_self_signed(names).unwrap();
        let other = rcgen::generate_simple_self_signed(["other.example.com".to_owned()]).unwrap();
        let digest = |byte: &str| byte.repeat(32);
        world.file(
            "/etc/gate/digests.txt",
            format!(
                "# of many\n\n{} name=phone expires=2099-01-01T00:00:00Z\n{} # bare\n{}\ncanary\n{} name=a=b\n{} expires=soon\n\
                 {} colour=red\n{} not_before=2099-01-01T00:00:00Z expires=2098-01-01T00:00:00Z\n{} x\n",
                digest("aa"), digest("ab"), digest("11"), digest("ac"), digest("ad"), digest("ae"), digest("af"), digest("ba"),
            ),
        );
        world.file("/etc/gate/more-digests.txt", "\n# nobody\n");
        let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"KEY}]}"#;
        world.file("/etc/gate/jwks.json", jwks.replace("KEY", ""));
        world.file(
            "/etc/gate/private.json",
            jwks.replace("KEY", r#","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#),
        );
        world.file("/etc/gate/tls/tls.crt", server.cert.pem());
        world.file("/etc/gate/tls/tls.key", server.signing_key.serialize_pem());
        world.file("/etc/gate/tls/other.key", other.signing_key.serialize_pem());
        world.file("/etc/gate/tls/internal-ca.pem", other.cert.pem());
        world.file("/etc/gate/tls/not.pem", "canary: not a certificate");
        world.file("/etc/gate/tls/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        world.file("/etc/gate/app.pem", APP.as_str());
        let place = |name: &str| format!(r#"{{"subscription_id":"s","resource_group":"r","workspace_name":"{name}"}}"#);
        world.file("/etc/gate/ml/config.json", place("w"));
        world.file("/etc/gate/.azureml/config.json", place("above"));
        world.file("/etc/gate/secrets/principal", "canary-principal-of-this-gate\n");
        world.file("/etc/gate/tls/encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n");
        world
    }

    fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), content.into());
    }
}

impl Env for World {
    fn var(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).map(OsString::from)
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }
}

impl Files for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // The operating system's own words, by its numbers for these (ENOENT, EACCES, EISDIR).
        if path.ends_with("locked") {
            return Err(io::Error::from_raw_os_error(13));
        }
        if path.ends_with("folder") {
            return Err(io::Error::from_raw_os_error(21));
        }
        self.files.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }
}

fn read(text: &[u8]) -> Result<Loaded, Faults> {
    let world = World::new();
    parse(text, Path::new("/etc/gate/gate.yaml"), &world, &world)
}

/// What `check` would print.
fn messages(text: &[u8]) -> String {
    let lines = match read(text) {
        Ok(loaded) => loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>() + "usable\n",
        Err(faults) => format!("{faults}\n"),
    };
    lines.replace("/etc/gate/gate.yaml:", "gate.yaml:")
}

fn example(name: &str) -> Loaded {
    let text = fs::read(Path::new("config").join(name)).unwrap();
    let loaded = read(&text).unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
    assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    loaded
}

#[test]
fn every_message_is_as_agreed() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut differences = String::new();
    let mut cases: Vec<PathBuf> = fs::read_dir("tests/config").unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let actual = messages(&fs::read(&case).unwrap());
        assert!(!actual.contains("canary"), "{} gives a secret away:\n{actual}", case.display());
        let expected_file = case.with_extension("expected");
        if bless {
            fs::write(&expected_file, &actual).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if actual != expected {
            differences.push_str(&format!("\n{}\n{}", case.display(), difference(&expected, &actual)));
        }
    }
    assert!(differences.is_empty(), "messages differ (BLESS=1 accepts them):\n{differences}");
}

/// Lines that only one of two texts has.
fn difference(expected: &str, actual: &str) -> String {
    let only = |sign: char, text: &str, other: &str| -> String {
        let lines = text.lines().filter(|line| !other.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    only('-', expected, actual) + &only('+', actual, expected)
}

#[test]
fn the_gateway_example_means_what_it_says() {
    let Loaded { config, files, .. } = example("gateway.yaml");
    let listener = &config.listeners[0];
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(listener.address.to_string(), "0.0.0.0:8443");
    assert_eq!(tls.certificates[0].names, ["models.example.com", "*.models.example.com"]);
    assert!(listener.hosts.is_empty(), "off loopback every host is served");

    let iris = config.endpoints.iter().find(|endpoint| endpoint.name == "iris").unwrap();
    assert_eq!(iris.upstreams[1].host, "iris-2.models.internal");
    assert_eq!((iris.attach_header.as_str(), iris.attach_prefix.as_str()), ("authorization", "Bearer "));
    let Credential::Keys { primary: Some(primary), secondary: Some(_), active: Slot::Primary } = &iris.credential
    else {
        panic!("{:?}", iris.credential);
    };
    assert_eq!(primary.expose_bytes(), b"canary-iris-primary-of-this-gate", "one newline is cut");

    let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["models.example.com/iris*", "*/wine*", "*/wine/healthz", "*/wine/admin*"]);
    let Action::Forward(forward) = &config.routes[0].action else { panic!("denies") };
    assert_eq!((forward.rewrite_prefix.as_deref(), forward.body), (Some("/"), Some(10 << 20)));
    assert!(matches!(config.routes[3].action, Action::Deny));

    let team = config.callers.iter().find(|caller| caller.name == "team-a").unwrap();
    let CallerKind::Keys(keys) = &team.kind else { panic!("anonymous") };
    assert_eq!(keys[1].expires, Some(4_070_908_800));
    assert_eq!(config.limits.body, 20 << 20);
    assert!(!config.state_dir.written && config.state_dir.path == Path::new("/var/lib/scoregate"));

    let read: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(read[0], "/etc/gate/gate.yaml");
    assert!(read.contains(&"/etc/gate/tls/tls.crt") && read.contains(&"/etc/gate/secrets/iris-primary"), "{read:?}");
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn the_sidecar_example_serves_local_hosts_alone() {
    let Loaded { config, .. } = example("sidecar.yaml");
    assert_eq!(config.listeners[0].hosts, ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(config.workers, Some(1));
    assert_eq!(config.endpoints[0].upstreams[0].path, "/api/v1/service/iris/score");
}

#[test]
fn the_example_of_keys_by_hand_reads_their_files() {
    let Loaded { config, files, .. } = example("by-hand-keys.yaml");
    assert_eq!(files.len(), 4);
    let CallerKind::Keys(keys) = &config.callers[0].kind else { panic!("anonymous") };
    assert_eq!(keys.len(), 1);
}

#[test]
fn the_azure_example_names_services_and_no_addresses() {
    let Loaded { config, files, .. } = example("azure.yaml");
    let Kind::Application(application) = &config.identities[0].kind else { panic!("another kind") };
    let Proof::Secret(secret) = &application.proof else { panic!("another proof") };
    assert_eq!(secret.expose_bytes(), b"canary-principal-of-this-gate");
    assert_eq!(config.workspaces[0].place.name, "w");
    assert!(files.iter().any(|file| file.ends_with("ml/config.json")), "{files:?}");
    let iris = config.endpoints.iter().find(|endpoint| endpoint.name == "iris").unwrap();
    assert!(iris.upstreams.is_empty() && iris.credential == Credential::OfService);
    assert_eq!(iris.service.as_ref().unwrap().name.to_string(), "AKS service aks-service");
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn how_a_credential_is_kept_valid_has_the_documented_defaults_and_follows_the_routes() {
    let text = r#"
version: 1
listeners: [{ name: a, address: "127.0.0.1:0" }]
identities: { me: { azure_cli: {} } }
workspaces: { ml: { identity: me, config_file: ml/config.json } }
callers: { anyone: anonymous }
endpoints:
  plain: { service: { workspace: ml, name: plain, kind: aks } }
  twin: { service: { workspace: ml, name: plain, kind: aks } }
  written:
    service: { workspace: ml, name: written, kind: online }
    replay: off
    look: 1h
    listkeys_interval: 10s
    refresh_interval: 20s
    rotation:
      { enabled: true, every: 7d, policy: full, window: "Sun 02:00-04:00 Europe/Berlin; Wed 23:00-01:00", settle: 90s,
        drain_timeout: 2m, probe: { method: POST, path: /score, body_file: ml/config.json, successes: 3, spread: 0s, fresh: 5s,
        timeout: 1m }, read_gap: 0s, read_timeout: 3m, adopt_gap: 1s, resubmit_after: 20m }
routes:
  - { match: { path_prefix: /plain }, callers: [anyone], endpoint: plain }
  - { match: { path_prefix: /twin }, callers: [anyone], endpoint: twin, timeout: 20m }
"#;
    let config = read(text.as_bytes()).unwrap().config;
    let service = |name: &str| {
        let endpoint = config.endpoints.iter().find(|endpoint| endpoint.name == name).unwrap();
        (endpoint.replay, endpoint.service.as_ref().unwrap().clone())
    };
    let seconds = Duration::from_secs;

    let (replay, plain) = service("plain");
    assert_eq!((replay, plain.active, plain.upkeep.schedule), (Replay::Auto, None, None));
    // The slowest route to the service, by whichever endpoint, and 10 s.
    assert_eq!(plain.upkeep.rules, Rules { drain_timeout: seconds(1_210), ..Rules::default() });
    assert_eq!(plain.upkeep.token_rules, TokenRules::default());
    assert_eq!(plain.upkeep.probe, Probe::default());

    let (replay, written) = service("written");
    let upkeep = written.upkeep;
    let schedule = upkeep.schedule.unwrap();
    assert_eq!((replay, upkeep.policy, schedule.every), (Replay::Off, Policy::Full, seconds(7 * 86_400)));
    // 2027-01-03 is a Sunday; in winter Berlin is an hour ahead.
    assert!(schedule.window.unwrap().is_open(1_798_938_000));
    let rules = Rules {
        look: seconds(3_600),
        listkeys_interval: seconds(10),
        settle: seconds(90),
        min_gap: seconds(2 * (3_600 + 90)),
        drain_timeout: seconds(120),
        probe_successes: 3,
        probe_spread: Duration::ZERO,
        probe_fresh: seconds(5),
        probe_timeout: seconds(60),
        read_gap: Duration::ZERO,
        read_timeout: seconds(180),
        adopt_gap: seconds(1),
        resubmit_after: seconds(1_200),
        ..Rules::default()
    };
    assert_eq!(upkeep.rules, rules, "`min_gap` is as long as every process needs");
    assert_eq!(upkeep.token_rules.refresh_interval, seconds(20));
    assert_eq!((upkeep.probe.method, upkeep.probe.path.as_deref()), (http::Method::POST, Some("/score")));
    assert!(upkeep.probe.body.unwrap().starts_with(b"{"));
}

#[test]
fn a_folder_is_searched_upwards_as_the_sdk_does() {
    let text = "
version: 1
listeners: [{ name: a, address: '127.0.0.1:0' }]
identities: { me: { azure_cli: {} } }
workspaces: { file: { identity: me, config_file: ml/config.json }, folder: { identity: me, config_file: ml/deep/folder } }
routes: [{ match: { path: / }, deny: true }]
";
    let names: Vec<String> =
        read(text.as_bytes()).unwrap().config.workspaces.into_iter().map(|workspace| workspace.place.name).collect();
    assert_eq!(names, ["w", "above"], "the dotted folder above comes before a bare config.json");
}

#[test]
fn a_listener_on_loopback_serves_the_hosts_of_its_routes() {
    let text = "
version: 1
listeners: [{ name: a, address: '127.0.0.1:0' }, { name: b, address: '[::1]:0' }, { name: c, address: '[::1]:0', hosts: [] }]
routes:
  - { match: { host: Models.Example.COM, path: / }, deny: true }
  - { match: { host: b.example.com, path: /, listeners: [b] }, deny: true }
  - { match: { host: '*.example.com', path: / }, deny: true }
";
    let config = read(text.as_bytes()).unwrap().config;
    assert_eq!(config.listeners[0].hosts, ["localhost", "127.0.0.1", "::1", "models.example.com"]);
    assert_eq!(config.listeners[1].hosts.last().unwrap(), "b.example.com");
    assert!(config.listeners[2].hosts.is_empty(), "written, so every host");
}

#[test]
fn a_key_file_that_is_empty_for_a_moment_keeps_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("gate.yaml"), folder.path().join("key"));
    let text = "
version: 1
listeners: [{ name: a, address: '127.0.0.1:0' }]
endpoints: { e: { upstreams: ['https://a/'], keys: { primary: { file: key } } } }
routes: [{ match: { path: / }, deny: true }]
";
    fs::write(&file, text).unwrap();
    let files = LastGood::<RealFiles>::default();
    let reload = |content: &str| {
        fs::write(&key, content).unwrap();
        load(&file, &ProcessEnv, &files)
    };
    let primary = |loaded: &Loaded| match &loaded.config.endpoints[0].credential {
        Credential::Keys { primary: Some(primary), .. } => primary.expose_bytes().to_vec(),
        credential => panic!("{credential:?}"),
    };

    assert!(reload("").is_err(), "there is nothing to keep");
    assert_eq!(primary(&reload("one\n").unwrap()), b"one");
    let kept = reload("").unwrap();
    assert_eq!(primary(&kept), b"one");
    assert!(kept.warnings[0].to_string().contains("what it held before stays in use"), "{}", kept.warnings[0]);
    assert_eq!(primary(&reload("two").unwrap()), b"two");
}

#[test]
fn a_configuration_that_is_not_there_is_said_to_be_so() {
    let world = World::new();
    let faults = load(Path::new("none.yaml"), &world, &world).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "none.yaml: found No such file or directory (os error 2), expected a configuration file"
    );
}

#[test]
fn the_schema_is_one_that_editors_understand() {
    let schema = scoregate::config::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["version", "listeners"]));
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["workers"]["description"].as_str().unwrap().contains("Default `auto`"));
    assert!(!schema.to_string().contains("\"null\""), "an empty key is a fault");
}

#[test]
fn hostile_texts_are_answered_at_once() {
    let started = Instant::now();
    for piece in
        ["[", "{", "- ", "? ", "&a ", "*a ", "a: ", "\"", "|\n", "- - ", "!!a ", "#", "\t", "${", "'", "%", "\u{feff}"]
    {
        messages(piece.repeat(200_000 / piece.len()).as_bytes());
    }
    let wide: String = (0..20_000).map(|n| format!("k{n}: v\n")).collect();
    messages(wide.as_bytes());
    messages(&vec![b' '; 2 << 20]);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// Texts that look like a configuration for a while.
fn almost_a_configuration() -> impl Strategy<Value = String> {
    let valid = fs::read_to_string("config/gateway.yaml").unwrap();
    let pieces = ["", " ", "\n", ":", "- ", "[", "}", "&a ", "*a", "${", "\t", "'", "null", "0", "é", "\u{0}", "!!x "];
    let edit = (any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(pieces.to_vec()));
    prop::collection::vec(edit, 1..5).prop_map(move |edits| {
        edits.into_iter().fold(valid.clone(), |text, (at, cut, piece)| {
            let chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            let rest = chars[at..].iter().skip(cut);
            chars[..at].iter().copied().chain(piece.chars()).chain(rest.copied()).collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let started = Instant::now();
        let said = messages(&bytes);
        prop_assert!(!said.contains("canary-"));
        prop_assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn no_slip_makes_it_panic_or_tell_a_secret(text in almost_a_configuration()) {
        let said = messages(text.as_bytes());
        prop_assert!(!said.contains("canary"), "{said}");
        prop_assert!(!said.contains("please report this"), "{said}");
    }
}

#[test]
fn a_file_of_digests_gives_each_key_its_name_and_times() {
    let mut world = World::new();
    let (one, other) = ("0a".repeat(32), "0B".repeat(32));
    world.file(
        "/etc/gate/keys.txt",
        format!("{one} name=phone not_before=1970-01-01T00:00:05Z expires=1970-01-01T00:00:09Z\n\n{other}#\n"),
    );
    let text = "version: 1\nlisteners: [{ name: a, address: \"unix:/run/gate.sock\" }]\n\
                callers: { many: { keys: [{ digests: keys.txt }] } }\nroutes: []\n";
    let config = parse(text.as_bytes(), Path::new("/etc/gate/gate.yaml"), &world, &world).unwrap().config;
    let CallerKind::Keys(keys) = &config.callers[0].kind else { panic!("no keys") };
    assert_eq!(keys[0].name.as_deref(), Some("phone"));
    assert_eq!((keys[0].sha256, keys[0].not_before, keys[0].expires), ([0x0a; 32], Some(5), Some(9)));
    assert_eq!((keys[1].sha256, &keys[1].name, keys[1].expires), ([0x0b; 32], &None, None));
    assert_eq!(keys.len(), 2);
}

/// Whoever writes it in place leaves it empty for a moment, in which a reload must not take every key away.
#[test]
fn a_file_of_digests_that_is_empty_for_a_moment_takes_no_key_away() {
    let text = "version: 1\nlisteners: [{ name: a, address: \"unix:/run/gate.sock\" }]\n\
                callers: { many: { keys: [{ digests: keys.txt }] } }\nroutes: []\n";
    let parsed = |content: &str| {
        let mut world = World::new();
        world.file("/etc/gate/keys.txt", content.to_owned());
        parse(text.as_bytes(), Path::new("/etc/gate/gate.yaml"), &world, &world)
    };
    for empty in ["", "\n", " \r\n\n"] {
        let faults = parsed(empty).unwrap_err().to_string();
        assert!(faults.contains("callers.many.keys[0].digests: found an empty file"), "{faults}");
    }
    let CallerKind::Keys(keys) = &parsed("# nobody for now\n").unwrap().config.callers[0].kind else {
        panic!("no keys")
    };
    assert!(keys.is_empty(), "a comment says that it is meant");
}
