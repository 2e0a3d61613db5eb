//! `identities`: how each signs in, with files and variables read.

use std::{ffi::OsString, path::PathBuf};

use super::{
    context::Context,
    secrets,
    tls::{self, NamedFile},
};
use crate::{
    azure::{
        cloud::{Audience, Authorities, Cloud, Known},
        identity::{
            Identity, Kind, TokenEndpoint,
            assertion::AppCertificate,
            azure_cli::AzureCli,
            cache::Cache,
            environment,
            federated::TokenFile,
            login::{Login, PUBLIC_CLIENT},
            managed::{Host, Managed, Which},
            sdk_auth,
            service_principal::{Application, Proof},
        },
    },
    config::{
        path::KeyPath,
        raw::{self, CloudWord, TokenEndpointWord},
    },
};

/// A kind, and the cloud that it came with.
type Found = (Kind, Option<Cloud>);

pub(super) fn identities(cx: &mut Context<'_>, raw: &raw::Config) -> Vec<Identity> {
    let path = KeyPath::root().key("identities");
    let identities = raw.identities.iter().flatten().filter_map(|(name, raw)| Some((name, raw.as_ref()?)));
    identities.filter_map(|(name, raw)| identity(cx, name, raw, &path.key(name))).collect()
}

fn identity(cx: &mut Context<'_>, name: &str, raw: &raw::Identity, path: &KeyPath) -> Option<Identity> {
    let written = raw.cloud.as_ref().and_then(|cloud| self::cloud(cx, cloud, &path.key("cloud")));
    let found = kind(cx, raw, path);
    let (kind, found) = found?;
    Some(Identity {
        name: name.to_owned(),
        kind,
        cloud: written.or(found).unwrap_or_else(|| Known::Public.cloud()),
        endpoint: match raw.token_endpoint {
            Some(TokenEndpointWord::V1) => TokenEndpoint::V1,
            Some(TokenEndpointWord::V2) | None => TokenEndpoint::V2,
        },
    })
}

fn kind(cx: &mut Context<'_>, raw: &raw::Identity, path: &KeyPath) -> Option<Found> {
    // That exactly one is written, `shape` has seen to.
    if let Some(typed) = &raw.service_principal {
        return Some((Kind::Application(service_principal(cx, typed, &path.key("service_principal"))?), None));
    }
    if let Some(typed) = &raw.sdk_auth {
        return of_sdk_auth(cx, typed, &path.key("sdk_auth").key("file"));
    }
    if raw.environment.is_some() {
        return of_environment(cx, &path.key("environment"));
    }
    if let Some(typed) = &raw.workload_identity {
        return workload_identity(cx, typed, &path.key("workload_identity"));
    }
    if let Some(typed) = &raw.managed_identity {
        return Some((Kind::Managed(managed_identity(cx, typed, &path.key("managed_identity"))?), None));
    }
    if let Some(typed) = &raw.azure_cli {
        let program = PathBuf::from("az");
        return Some((Kind::AzureCli(AzureCli { program, tenant: typed.tenant.clone() }), None));
    }
    let typed = raw.login.as_ref()?;
    let env = cx.env;
    let login = Login {
        tenant: typed.tenant.clone(),
        client: typed.client_id.clone().unwrap_or_else(|| PUBLIC_CLIENT.to_owned()),
        cache: Cache::of_user(|name| env.var(name)),
    };
    Some((Kind::Login(login), None))
}

fn service_principal(cx: &mut Context<'_>, typed: &raw::ServicePrincipal, path: &KeyPath) -> Option<Application> {
    let proof = match (&typed.client_secret, &typed.certificate, &typed.federated_token_file) {
        (Some(secret), ..) => secrets::secret(cx, secret, &path.key("client_secret")).map(Proof::Secret),
        (None, Some(certificate), _) => {
            app_certificate(cx, certificate, &path.key("certificate")).map(Proof::Certificate)
        }
        (None, None, Some(file)) => Some(Proof::Federated(TokenFile(cx.file(file)))),
        (None, None, None) => None,
    };
    Some(Application { tenant: typed.tenant_id.clone()?, client: typed.client_id.clone()?, proof: proof? })
}

fn app_certificate(cx: &mut Context<'_>, typed: &raw::AppCertificate, path: &KeyPath) -> Option<AppCertificate> {
    let cert = typed.cert.as_deref()?;
    let (cert_path, key_path) = (path.key("cert"), path.key("key"));
    let key = match typed.key.as_deref() {
        Some(key) => NamedFile { written: key, at: &key_path },
        None => NamedFile { written: cert, at: &cert_path },
    };
    let send_chain = typed.send_chain.unwrap_or(false);
    tls::app_certificate(cx, NamedFile { written: cert, at: &cert_path }, key, send_chain)
}

fn of_sdk_auth(cx: &mut Context<'_>, typed: &raw::SdkAuth, path: &KeyPath) -> Option<Found> {
    let content = cx.read(path, typed.file.as_deref()?)?;
    match sdk_auth::parse(&content) {
        Ok(found) => {
            let proof = Proof::Secret(found.secret);
            Some((Kind::Application(Application { tenant: found.tenant, client: found.client, proof }), found.cloud))
        }
        Err(why) => {
            cx.error(path, why, "the JSON that `az ad sp create-for-rbac --sdk-auth` prints");
            None
        }
    }
}

fn of_environment(cx: &mut Context<'_>, path: &KeyPath) -> Option<Found> {
    let env = cx.env;
    let found = match environment::find(|name| env.var(name)) {
        Ok(found) => found,
        Err(why) => {
            cx.error(path, why, "an application in the environment of scoregate")
                .hint("a service manager passes variables on where it is told to, such as systemd's `EnvironmentFile`");
            return None;
        }
    };
    let proof = match found.proof {
        environment::Proof::Secret(_) => Proof::Secret(secrets::from_variable(cx, found.proof_name, path)?),
        environment::Proof::Certificate(file) => {
            let file = file.to_string_lossy();
            let file = NamedFile { written: &file, at: path };
            Proof::Certificate(tls::app_certificate(cx, file, file, false)?)
        }
    };
    let cloud = authority(cx, found.authority.map(OsString::from), path);
    Some((Kind::Application(Application { tenant: found.tenant, client: found.client, proof }), cloud))
}

fn workload_identity(cx: &mut Context<'_>, typed: &raw::WorkloadIdentity, path: &KeyPath) -> Option<Found> {
    let mut value = |written: &Option<String>, key: &str, variable: &str| -> Option<String> {
        if let Some(written) = written {
            return Some(written.clone());
        }
        if cx.is_written(&path.key(key)) {
            return None;
        }
        let value = cx.env.var(variable).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
        if value.is_none() {
            cx.error(
                path,
                format!("no variable `{variable}`"),
                format!("what the webhook of AKS puts into the pod, or `{key}`"),
            )
            .hint("label the pod `azure.workload.identity/use: \"true\"`, and annotate its service account");
        }
        value
    };
    let client = value(&typed.client_id, "client_id", "AZURE_CLIENT_ID");
    let tenant = value(&typed.tenant_id, "tenant_id", "AZURE_TENANT_ID");
    let file = value(&typed.token_file, "token_file", "AZURE_FEDERATED_TOKEN_FILE");
    let cloud = authority(cx, cx.env.var("AZURE_AUTHORITY_HOST").filter(|host| !host.is_empty()), path);
    let file = match &typed.token_file {
        Some(written) => cx.file(written),
        None => PathBuf::from(file?),
    };
    let proof = Proof::Federated(TokenFile(file));
    Some((Kind::Application(Application { tenant: tenant?, client: client?, proof }), cloud))
}

/// The cloud that `AZURE_AUTHORITY_HOST` names.
fn authority(cx: &mut Context<'_>, value: Option<OsString>, path: &KeyPath) -> Option<Cloud> {
    let cloud = value?.into_string().ok().and_then(|value| Cloud::of_authority(&value).ok());
    match cloud {
        Some(cloud) if cloud.authority.keeps_secrets() => Some(cloud),
        Some(_) | None => {
            cx.error(path, "`AZURE_AUTHORITY_HOST`, which is no `https://` URL", "the address of an identity provider");
            None
        }
    }
}

fn managed_identity(cx: &mut Context<'_>, typed: &raw::ManagedIdentity, path: &KeyPath) -> Option<Managed> {
    let ids = [
        typed.client_id.clone().map(Which::Client),
        typed.object_id.clone().map(Which::Object),
        typed.resource_id.clone().map(Which::Resource),
    ];
    let mut ids = ids.into_iter().flatten();
    let which = ids.next().unwrap_or(Which::System);
    if ids.next().is_some() {
        cx.error(path, "several ids", "one of `client_id`, `object_id` and `resource_id`, or none");
    }
    let env = cx.env;
    match Host::find(|name| env.var(name)) {
        Ok(host) => Some(Managed { which, host }),
        Err(why) => {
            cx.error(path, why, "a virtual machine or AKS node, App Service, Container Apps or Azure ML's compute");
            None
        }
    }
}

fn cloud(cx: &mut Context<'_>, typed: &raw::Cloud, path: &KeyPath) -> Option<Cloud> {
    let table = match typed {
        raw::Cloud::Word(CloudWord::Public) => return Some(Known::Public.cloud()),
        raw::Cloud::Word(CloudWord::China) => return Some(Known::China.cloud()),
        raw::Cloud::Word(CloudWord::Usgov) => return Some(Known::UsGov.cloud()),
        raw::Cloud::Table(table) => table,
    };
    let ca = table.ca.as_deref().and_then(|ca| tls::roots(cx, NamedFile { written: ca, at: &path.key("ca") }));
    let resource_manager = table.resource_manager.as_ref()?.0.clone();
    let public = Known::Public.cloud();
    Some(Cloud {
        authority: table.authority.as_ref()?.0.clone(),
        audience: match &table.audience {
            Some(audience) => audience.0.0.clone(),
            None => Audience::new(&resource_manager.origin()),
        },
        resource_manager,
        scoring: table.scoring_audience.as_ref().map_or(public.scoring, |audience| audience.0.0.clone()),
        region_suffix: public.region_suffix,
        ca: ca.map(|(roots, digest)| Authorities { roots, digest }),
    })
}
