//! Every kind of identity signs in, and says in one sentence why not where it cannot.

use std::{path::PathBuf, sync::Arc};

use http::Method;
use scoregate::{
    azure::{
        calls::{Calls, Why},
        cloud::Audience,
        error::Error,
        identity::{
            Identity, Kind, TokenEndpoint,
            assertion::AppCertificate,
            environment,
            federated::TokenFile,
            managed::{Host, Managed, Which},
            sdk_auth,
            service_principal::{Application, Proof},
        },
        token::{Bearer, Wanted},
        url::Url,
        workspace,
    },
    secret::Secret,
};
use serde_json::json;

use super::world::{World, by_certificate};

async fn sign_in(world: &World, identity: &Identity) -> (Result<Arc<Bearer>, Error>, Calls) {
    let mut calls = Calls::default();
    let tokens = identity.tokens(&world.http);
    let bearer = tokens.token(&identity.cloud.audience, Wanted::Valid, &mut calls).await;
    (bearer, calls)
}

/// It signs in with one call, and the resource manager takes the token.
async fn is_somebody(world: &World, identity: &Identity) {
    let (bearer, calls) = sign_in(world, identity).await;
    let bearer = bearer.unwrap_or_else(|error| panic!("{:?}: {error}", identity.kind));
    assert!(bearer.expires_unix > world.clock.unix_seconds() + 60);
    assert_eq!((calls.made().len(), calls.count(Why::SignIn)), (1, 1));
    let seen = workspace::subscriptions(&world.control(identity), &mut Calls::default()).await.unwrap();
    assert_eq!(seen[0].id, world.ports().subscription);
}

async fn refusal(world: &World, identity: &Identity) -> String {
    let (refused, calls) = sign_in(world, identity).await;
    let error = refused.unwrap_err().to_string();
    assert!(calls.made().len() <= 1, "{calls}: a clear no is final");
    assert!(!error.contains(&world.ports().client_secret) && !error.contains("canary"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    error
}

fn with_chain(proof: Proof) -> Proof {
    let Proof::Certificate(certificate) = proof else { panic!("no certificate") };
    Proof::Certificate(AppCertificate { send_chain: true, ..certificate })
}

#[tokio::test]
async fn an_application_signs_in_with_secret_certificate_and_token_file_at_both_endpoints() {
    let world = World::start().await;
    let file = TokenFile(world.ports().federated_token_file.clone());
    for endpoint in [TokenEndpoint::V2, TokenEndpoint::V1] {
        for kind in [
            world.by_secret(),
            world.application(by_certificate(&world)),
            world.application(with_chain(by_certificate(&world))),
            world.application(Proof::Federated(file.clone())),
        ] {
            is_somebody(&world, &Identity { endpoint, ..world.identity(kind) }).await;
        }
    }
}

#[tokio::test]
async fn the_files_and_variables_that_people_have_lead_to_the_same_application() {
    let world = World::start().await;
    let ports = world.ports();
    let json = json!({
        "clientId": ports.client_id, "clientSecret": ports.client_secret, "tenantId": ports.tenant,
        "subscriptionId": ports.subscription,
        "activeDirectoryEndpointUrl": ports.entra_tls, "resourceManagerEndpointUrl": ports.arm_tls,
        "managementEndpointUrl": "https://management.core.windows.net/",
    });
    let found = sdk_auth::parse(json.to_string().as_bytes()).unwrap();
    let mut cloud = found.cloud.unwrap();
    cloud.ca = Some(world.ca());
    let kind = Kind::Application(Application {
        tenant: found.tenant,
        client: found.client,
        proof: Proof::Secret(found.secret),
    });
    is_somebody(&world, &Identity { cloud, ..world.identity(kind) }).await;

    let variables = [
        ("AML_TENANT_ID", ports.tenant.clone()),
        ("AML_PRINCIPAL_ID", ports.client_id.clone()),
        ("AML_PRINCIPAL_PASS", ports.client_secret.clone()),
    ];
    let find = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into());
    let found = environment::find(find).unwrap();
    let environment::Proof::Secret(secret) = found.proof else { panic!("no secret") };
    let proof = Proof::Secret(secret);
    is_somebody(
        &world,
        &world.identity(Kind::Application(Application { tenant: found.tenant, client: found.client, proof })),
    )
    .await;
}

#[tokio::test]
async fn the_machine_signs_in_in_every_form_its_host_may_have() {
    let world = World::start().await;
    let ports = world.ports();
    let at = |path: &str| Url::parse(&format!("{}{path}", ports.imds)).unwrap();
    let secret = |text: &String| Secret::new(text.clone().into_bytes());
    let hosts = [
        Host::Imds(at("")),
        Host::AppService(at(&ports.app_service_path), secret(&ports.identity_header)),
        Host::AmlCompute(at(&ports.msi_path), secret(&ports.msi_secret)),
    ];
    for host in hosts {
        is_somebody(&world, &world.identity(Kind::Managed(Managed { which: Which::System, host }))).await;
    }
    let user_assigned =
        Managed { which: Which::Client("c11e4700-0000-4000-8000-000000000003".into()), host: Host::Imds(at("")) };
    is_somebody(&world, &world.identity(Kind::Managed(user_assigned))).await;

    let nobody = Managed { which: Which::Client("nobody".into()), host: Host::Imds(at("")) };
    let error = refusal(&world, &world.identity(Kind::Managed(nobody))).await;
    assert!(error.contains("is that identity assigned to this machine?"), "{error}");
    let wrong = Managed {
        which: Which::System,
        host: Host::AppService(at(&ports.app_service_path), Secret::new(b"canary-header".to_vec())),
    };
    let error = refusal(&world, &world.identity(Kind::Managed(wrong))).await;
    assert!(error.contains("cannot sign in as this machine"), "{error}");
}

#[tokio::test]
async fn a_machine_outside_azure_is_told_so() {
    let world =
        World::start_with(scoregate::clock::Clock::manual(1_800_000_000), scoregate::azure::http::Attempts::ONE).await;
    // Bound and let go: nobody answers there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host = Host::Imds(Url::parse(&format!("http://{free}")).unwrap());
    let (refused, _) = sign_in(&world, &world.identity(Kind::Managed(Managed { which: Which::System, host }))).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("Connection refused") && error.contains("only a machine of Azure's has one"), "{error}");
}

#[tokio::test]
async fn what_the_identity_provider_refuses_is_one_sentence_with_its_code_and_what_to_do() {
    let world = World::start().await;
    let application = |tenant: &str, client: &str, proof| {
        let (tenant, client) = (tenant.to_owned(), client.to_owned());
        world.identity(Kind::Application(Application { tenant, client, proof }))
    };
    let (tenant, client) = (world.ports().tenant.clone(), world.ports().client_id.clone());
    let secret = |text: &str| Proof::Secret(Secret::new(text.as_bytes().to_vec()));
    let folder = tempfile::tempdir().unwrap();
    let file = |content: &str| {
        let path = folder.path().join(format!("token-{}", content.len()));
        std::fs::write(&path, content).unwrap();
        Proof::Federated(TokenFile(path))
    };
    for (identity, expected) in [
        (application(&tenant, &client, secret("canary-wrong")), ["AADSTS7000215", "not its id"]),
        (application(&tenant, "nobody", secret("canary")), ["AADSTS700016", "registered in this tenant"]),
        (application("no-tenant", &client, secret("canary")), ["AADSTS90002", "is `tenant_id` right"]),
        (application(&tenant, &client, file("canary")), ["cannot sign in as application", "status 4"]),
        (application(&tenant, &client, file("")), ["is empty", "token-0"]),
        (
            application(&tenant, &client, Proof::Federated(TokenFile(PathBuf::from("/nonexistent/token")))),
            ["/nonexistent/token", "No such file"],
        ),
    ] {
        let error = refusal(&world, &identity).await;
        for part in expected {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    for (wish, expected) in [
        (json!({ "subject": "somebody-else" }), "federated credential"),
        (json!({ "issuer": "https://other.example/" }), "federated credential"),
        (json!({ "audience": "api://other" }), "federated credential"),
    ] {
        let token = world.order(Method::POST, "/federated_token", wish).await;
        let path = folder.path().join("federated");
        std::fs::write(&path, token["federated_token"].as_str().unwrap()).unwrap();
        let error = refusal(&world, &application(&tenant, &client, Proof::Federated(TokenFile(path)))).await;
        assert!(error.contains(expected), "{error}");
    }
    // Each code that the identity provider has for us.
    for (code, expected) in [
        (7_000_222, "the secret has expired"),
        (700_027, "is the certificate registered"),
        (53_003, "a person has to sign in"),
        (500_011, "is `cloud.audience` right?"),
    ] {
        world.misbehave(json!({ "target": "entra", "kind": "status", "code": code, "count": 1 })).await;
        let mut calls = Calls::default();
        let identity = world.identity(world.by_secret());
        let error = identity.tokens(&world.http).token(&identity.cloud.audience, Wanted::Valid, &mut calls).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&code.to_string()), "{code}: {error}");
        assert_eq!(calls.made().len(), 1);
        world.behave().await;
    }
}

#[tokio::test]
async fn the_token_file_is_read_at_each_use() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old and refused").unwrap();
    let identity = world.identity(world.application(Proof::Federated(TokenFile(path.clone()))));
    let tokens = identity.tokens(&world.http);
    let audience = &identity.cloud.audience;
    assert!(tokens.token(audience, Wanted::Valid, &mut Calls::default()).await.is_err());
    std::fs::write(&path, &world.ports().federated_token).unwrap();
    assert!(tokens.token(audience, Wanted::Valid, &mut Calls::default()).await.is_ok());
}

#[tokio::test]
async fn tokens_for_scoring_and_for_the_control_plane_are_not_mixed_up() {
    let world = World::start().await;
    let identity = world.identity(world.by_secret());
    let tokens = identity.tokens(&world.http);
    let mut calls = Calls::default();
    let arm = tokens.token(&identity.cloud.audience, Wanted::Valid, &mut calls).await.unwrap();
    let ml = tokens.token(&Audience::new("https://ml.azure.com"), Wanted::Valid, &mut calls).await.unwrap();
    assert_ne!(arm.value, ml.value);
    assert!(Arc::ptr_eq(&arm, &tokens.token(&identity.cloud.audience, Wanted::Valid, &mut calls).await.unwrap()));
    assert_eq!(calls.count(Why::SignIn), 2);
}
