//! A fixture file: JSON or YAML that says what the mock starts from instead of its defaults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;

use super::{
    admin::{EntraChange, ServiceChange},
    setup::{ServiceSetup, Setup, app_certificate, is_name},
    state::{
        directory::{AppSecret, Application, Federated, ManagedIdentity, User},
        guid,
        role::Role,
    },
};
use crate::{
    config::document,
    random,
    secret::Secret,
    service_auth::{AuthMode, KeyValue, ServiceKind},
};

/// Front ends of one service: each has a listener of its own.
const MAX_FRONT_ENDS: usize = 32;

/// The file. What is not there is as in the defaults; `services`, where it is there, replaces them all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    tenant: Option<String>,
    application: Option<App>,
    #[serde(default)]
    more_applications: Vec<App>,
    public_client_id: Option<String>,
    user: Option<Person>,
    managed_identity: Option<Machine>,
    identity_header: Option<String>,
    msi_secret: Option<String>,
    entra: Option<EntraChange>,
    subscription: Option<String>,
    resource_group: Option<String>,
    workspace: Option<String>,
    region: Option<String>,
    compute_region: Option<String>,
    page_size: Option<usize>,
    services: Option<BTreeMap<String, Service>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    client_id: Option<String>,
    client_secret: Option<String>,
    /// Unix seconds.
    client_secret_expires: Option<u64>,
    /// Its certificate, PEM; the private key stays with the client.
    certificate: Option<PathBuf>,
    federated: Option<Vec<Federated>>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    name: Option<String>,
    password: Option<String>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    client_id: Option<String>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    kind: ServiceKind,
    auth: AuthMode,
    primary_key: Option<String>,
    secondary_key: Option<String>,
    front_ends: Option<usize>,
    backend: Option<String>,
    #[serde(default)]
    behaviour: ServiceChange,
}

/// Reads a fixture over the defaults.
///
/// # Errors
/// What is wrong, where, and what was expected.
pub(super) fn load(path: &Path, setup: Setup) -> anyhow::Result<Setup> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the fixture {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    apply(&text, folder, setup).with_context(|| format!("the fixture {} cannot be used", path.display()))
}

fn apply(text: &str, folder: &Path, mut setup: Setup) -> anyhow::Result<Setup> {
    let fixture: Fixture = document::read(text)?;
    let ids = [
        ("tenant", fixture.tenant, &mut setup.tenant),
        ("public_client_id", fixture.public_client_id, &mut setup.public_client_id),
        ("subscription", fixture.subscription, &mut setup.subscription),
        ("resource_group", fixture.resource_group, &mut setup.resource_group),
        ("workspace", fixture.workspace, &mut setup.workspace),
        ("region", fixture.region, &mut setup.region),
    ];
    for (key, written, place) in ids {
        if let Some(written) = written {
            ensure!(is_name(&written), "{key}: letters, digits, `-`, `_` and `.` only, at most 64");
            *place = written;
        }
    }
    if let Some(region) = fixture.compute_region {
        ensure!(is_name(&region), "compute_region: letters, digits, `-`, `_` and `.` only, at most 64");
        setup.compute_region = Some(region);
    }
    for (key, written, place) in [
        ("identity_header", fixture.identity_header, &mut setup.identity_header),
        ("msi_secret", fixture.msi_secret, &mut setup.msi_secret),
    ] {
        if let Some(written) = written {
            // What can be a key can stand in a field.
            KeyValue::new(&written).with_context(|| key)?;
            *place = written;
        }
    }
    if let Some(written) = fixture.application {
        let Some(first) = setup.applications.first_mut() else { bail!("there is no application to change") };
        change_application(first, written, folder).context("application")?;
    }
    for (index, written) in fixture.more_applications.into_iter().enumerate() {
        let mut application = Application {
            client_id: guid(random::bytes()?),
            object_id: guid(random::bytes()?),
            secrets: Vec::new(),
            certificates: Vec::new(),
            federated: Vec::new(),
            role: Role::contributor(),
        };
        change_application(&mut application, written, folder).with_context(|| format!("more_applications[{index}]"))?;
        setup.applications.push(application);
    }
    if let Some(Person { name, password, role }) = fixture.user {
        let User { name: was, password: secret, role: had, .. } = &mut setup.user;
        *was = name.unwrap_or_else(|| was.clone());
        change_role(had, role, folder).context("user")?;
        if let Some(password) = password {
            *secret = Secret::new(password.into_bytes());
        }
    }
    if let Some(Machine { client_id, role }) = fixture.managed_identity {
        let ManagedIdentity { client_id: was, role: had, .. } = &mut setup.managed_identity;
        *was = client_id.unwrap_or_else(|| was.clone());
        change_role(had, role, folder).context("managed_identity")?;
    }
    if let Some(change) = fixture.entra {
        setup.entra = change.apply(setup.entra).map_err(anyhow::Error::msg).context("entra")?;
    }
    if let Some(page_size) = fixture.page_size {
        ensure!(page_size > 0, "page_size: at least 1");
        setup.page_size = page_size;
    }
    if let Some(services) = fixture.services {
        ensure!(!services.is_empty(), "services: at least one");
        let named = |(name, written): (String, Service)| {
            let context = format!("services.{name}");
            service(&name, written).context(context)
        };
        setup.services = services.into_iter().map(named).collect::<anyhow::Result<_>>()?;
        let mut names: Vec<String> = setup.services.iter().map(|service| service.name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        ensure!(names.len() == setup.services.len(), "services: two names differ in case only, and paths have none");
    }
    Ok(setup)
}

fn change_application(application: &mut Application, written: App, folder: &Path) -> anyhow::Result<()> {
    if let Some(client_id) = written.client_id {
        ensure!(is_name(&client_id), "client_id: letters, digits, `-`, `_` and `.` only, at most 64");
        application.client_id = client_id;
    }
    if let Some(secret) = written.client_secret {
        ensure!(!secret.is_empty(), "client_secret: not empty");
        application.secrets = vec![AppSecret { value: Secret::new(secret.into_bytes()), expires: None }];
    }
    if let (Some(expires), Some(secret)) = (written.client_secret_expires, application.secrets.first_mut()) {
        secret.expires = Some(expires);
    }
    if let Some(path) = written.certificate {
        let path = folder.join(path);
        let certificate = CertificateDer::from_pem_file(&path)
            .map_err(|error| anyhow::anyhow!("certificate: {} has none in PEM: {error}", path.display()))?;
        application.certificates.push(app_certificate(&certificate).context("certificate")?);
    }
    if let Some(federated) = written.federated {
        application.federated = federated;
    }
    change_role(&mut application.role, written.role, folder)
}

/// One of Azure's own roles by a word, or a definition by its file.
fn change_role(role: &mut Role, written: Option<String>, folder: &Path) -> anyhow::Result<()> {
    let Some(written) = written else { return Ok(()) };
    *role = match written.as_str() {
        "contributor" => Role::contributor(),
        "reader" => Role::reader(),
        "none" => Role::none(),
        file if file.ends_with(".json") => {
            let path = folder.join(file);
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("role: cannot read {}", path.display()))?;
            Role::define(&text).with_context(|| format!("role: {}", path.display()))?
        }
        other => {
            bail!("role: found `{other}`, expected contributor, reader, none or the .json file of a role definition")
        }
    };
    Ok(())
}

fn service(name: &str, written: Service) -> anyhow::Result<ServiceSetup> {
    ensure!(is_name(name), "the name: letters, digits, `-`, `_` and `.` only, at most 64");
    let Service { kind, auth, primary_key, secondary_key, front_ends, backend, behaviour } = written;
    ensure!(
        kind.allows(auth),
        "auth: Azure has no such service: aci takes key or none, aks key, token or none, online key, token or entra"
    );
    let mut setup = ServiceSetup::new(name, kind, auth);
    if let Some(front_ends) = front_ends {
        ensure!((1..=MAX_FRONT_ENDS).contains(&front_ends), "front_ends: from 1 to {MAX_FRONT_ENDS}");
        setup.front_ends = front_ends;
    }
    let key = |written: Option<String>| written.map(|text| KeyValue::new(&text)).transpose();
    setup.primary_key = key(primary_key).context("primary_key")?;
    setup.secondary_key = key(secondary_key).context("secondary_key")?;
    setup.backend = backend.map(|url| backend_uri(&url)).transpose().context("backend")?;
    let changed = behaviour.apply(&setup.knobs, setup.lifetimes, setup.front_ends);
    (setup.knobs, setup.lifetimes) = changed.map_err(anyhow::Error::msg).context("behaviour")?;
    Ok(setup)
}

/// A container's scoring URI.
///
/// # Errors
/// Where it is none.
pub(super) fn backend_uri(url: &str) -> anyhow::Result<http::Uri> {
    let uri: http::Uri = url.parse().context("this is not a URL")?;
    ensure!(
        uri.scheme_str() == Some("http") && uri.authority().is_some() && uri.query().is_none(),
        "expected the scoring URI of a container, as http://HOST:PORT/score"
    );
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Setup, String> {
        apply(text, Path::new("."), Setup::built_in().unwrap()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_is_not_written_is_as_in_the_defaults() {
        let setup = read("tenant: t-1\nuser: { name: bob }").unwrap();
        assert_eq!((setup.tenant.as_str(), setup.user.name.as_str()), ("t-1", "bob"));
        assert_eq!(setup.services.len(), 7);
    }

    #[test]
    fn services_are_replaced_and_take_everything() {
        let setup = read(
            r#"{"services": {"svc": {"kind": "aks", "auth": "key", "primary_key": "p", "front_ends": 2,
                "backend": "http://127.0.0.1:5001/score",
                "behaviour": {"learn_lag": [0, 1.5], "operation": 2, "deny": ["token"]}}}}"#,
        )
        .unwrap();
        let [service] = setup.services.as_slice() else { panic!("{:?}", setup.services) };
        assert_eq!(service.primary_key.as_ref().unwrap().expose_text(), "p");
        assert_eq!(service.knobs.learn_lag, [0.0, 1.5]);
    }

    #[test]
    fn a_role_is_a_word_or_a_file() {
        let setup = read("user: { role: reader }\napplication: { role: config/azure/role-read.json }").unwrap();
        assert_eq!(setup.user.role, Role::reader());
        let role = &setup.applications[0].role;
        assert!(role.permits("Microsoft.MachineLearningServices/workspaces/services/aks/listkeys/action"));
        assert!(!role.permits("Microsoft.MachineLearningServices/workspaces/services/aks/write"));
    }

    #[test]
    fn the_readme_s_example_is_one() {
        let readme = include_str!("../../README.md");
        let example = readme.split("```yaml\n").find(|block| block.contains("front_ends:")).unwrap();
        let example = example.split("```").next().unwrap().replace('…', "a-key");
        let setup = read(&example).unwrap();
        assert_eq!(setup.services[0].knobs.learn_lag, [0.0, 2.0, 10.0]);
    }

    #[test]
    fn faults_say_where_and_what() {
        for (text, said) in [
            ("tenat: x", "unknown field `tenat`"),
            ("services: { a: { kind: aks, auth: key, colour: red } }", "unknown field `colour`"),
            ("services: { a: { kind: aci, auth: token } }", "services.a: auth: Azure has no such service"),
            ("services: { a: { kind: aks, auth: key, front_ends: 0 } }", "services.a: front_ends: from 1 to 32"),
            ("services: { a b: { kind: aks, auth: key } }", "services.a b: the name"),
            ("services: { a: { kind: aks, auth: key, primary_key: '' } }", "primary_key: a key cannot be empty"),
            ("services: { a: { kind: aks, auth: key, behaviour: { learn_lag: [1,1,1,1] } } }", "learn_lag has 4 lags"),
            ("services: { a: { kind: aks, auth: key }, A: { kind: aks, auth: key } }", "differ in case only"),
            (
                "services: { a: { kind: aks, auth: key, backend: 'ftp://x' } }",
                "services.a: backend: expected the scoring URI",
            ),
            ("tenant: 'a/b'", "tenant: letters"),
            ("application: { certificate: missing.pem }", "application: certificate: ./missing.pem has none"),
            (
                "user: { role: owner }",
                "user: role: found `owner`, expected contributor, reader, none or the .json file",
            ),
            ("application: { role: missing.json }", "application: role: cannot read ./missing.json"),
            ("[", "expected struct Fixture"),
            ("tenant: t\nservices: { a: { kind: aks, auth: key, front_ends: x } }", "line 2"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
