//! Signing in as the machine itself: its host has a service that gives tokens to whoever runs on it.
//!
//! Two forms: the metadata service of virtual machines and AKS nodes (IMDS), and the endpoint that App Service, Container Apps
//! and Azure ML's own compute put into the environment. Which one it is was found when the configuration was read.
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use std::ffi::OsString;

use form_urlencoded::Serializer;
use http::HeaderName;

use super::oauth;
use crate::{
    azure::{
        calls::{Calls, Why},
        cloud::Audience,
        error::{Error, Fault},
        http::{Http, Reach, Request},
        token::Fetched,
        url::Url,
    },
    secret::Secret,
};

/// Where IMDS is, on every machine that has one.
pub const IMDS: &str = "http://169.254.169.254";

/// The machine's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// Which of its identities.
    pub which: Which,
    /// Who knows it.
    pub host: Host,
}

/// Which of a machine's identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one that belongs to the machine alone.
    System,
    /// A user-assigned one, by its client id.
    Client(String),
    /// A user-assigned one, by its object id.
    Object(String),
    /// A user-assigned one, by its resource id.
    Resource(String),
}

/// Who gives out the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The metadata service, by its origin.
    Imds(Url),
    /// The endpoint of App Service and its kin (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`).
    AppService(Url, Secret),
    /// Azure ML's compute, and App Service of old (`MSI_ENDPOINT`, `MSI_SECRET`).
    AmlCompute(Url, Secret),
}

impl Host {
    /// Looks which host this is.
    ///
    /// # Errors
    /// What the environment says and cannot be used, in words.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let url = |name: &str| {
            let text =
                value(name).unwrap_or_default().into_string().map_err(|_not_text| format!("`{name}` is no URL"))?;
            Url::parse(&text).map_err(|why| format!("`{name}`: {why}"))
        };
        let secret = |name: &str| {
            use std::os::unix::ffi::OsStringExt;
            Secret::new(value(name).unwrap_or_default().into_vec())
        };
        let has = |name: &str| value(name).is_some();
        let unsupported =
            |what: &str| Err(format!("an environment of {what}, whose managed identity is not supported"));
        match (has("IDENTITY_ENDPOINT"), has("IDENTITY_HEADER"), has("MSI_ENDPOINT"), has("MSI_SECRET")) {
            (true, true, ..) if has("IDENTITY_SERVER_THUMBPRINT") => unsupported("Service Fabric"),
            (true, true, ..) => Ok(Self::AppService(url("IDENTITY_ENDPOINT")?, secret("IDENTITY_HEADER"))),
            (true, false, ..) if has("IMDS_ENDPOINT") => unsupported("Azure Arc"),
            (true, false, ..) => Err("`IDENTITY_ENDPOINT` without `IDENTITY_HEADER`".to_owned()),
            (false, _, true, true) => Ok(Self::AmlCompute(url("MSI_ENDPOINT")?, secret("MSI_SECRET"))),
            (false, _, true, false) => unsupported("Cloud Shell"),
            (false, _, false, _) if has("AZURE_POD_IDENTITY_AUTHORITY_HOST") => {
                Ok(Self::Imds(url("AZURE_POD_IDENTITY_AUTHORITY_HOST")?))
            }
            (false, _, false, _) => Url::parse(IMDS).map(Self::Imds).map_err(|why| why.to_string()),
        }
    }
}

impl Managed {
    pub(super) fn who(&self) -> String {
        match &self.which {
            Which::System => "this machine".to_owned(),
            Which::Client(id) => format!("this machine's identity with the client id {id}"),
            Which::Object(id) => format!("this machine's identity with the object id {id}"),
            Which::Resource(id) => format!("this machine's identity {id}"),
        }
    }

    pub(super) async fn fetch(&self, http: &Http, audience: &Audience, calls: &mut Calls) -> Result<Fetched, Error> {
        let request = self.request(audience)?;
        let reply = http.call(request, calls).await.map_err(|error| match error.fault() {
            Fault::Unreachable { .. } | Fault::NoAnswer { .. } => error.advise(
                "only a machine of Azure's has one; elsewhere another kind of identity is needed, such as service_principal",
            ),
            _ => error,
        })?;
        if !reply.is_success() {
            let error = reply.refusal();
            return Err(match (reply.status, &self.which) {
                (400, Which::System) => error.advise(
                    "is its system-assigned identity switched on? a user-assigned one is named with `client_id`",
                ),
                (400, _) => error.advise("is that identity assigned to this machine?"),
                _ => error,
            });
        }
        let answer: oauth::TokenAnswer = reply.json("a token")?;
        answer.fetched(&reply, http.clock().unix_seconds())
    }

    fn request(&self, audience: &Audience) -> Result<Request, Error> {
        let doing = format!("sign in as {}", self.who());
        let mut query = Serializer::new(String::new());
        // The same id goes by another name with each of them.
        let ids = match &self.host {
            Host::Imds(_) => {
                query.append_pair("api-version", "2018-02-01");
                ["client_id", "object_id", "msi_res_id"]
            }
            Host::AppService(..) => {
                query.append_pair("api-version", "2019-08-01");
                ["client_id", "object_id", "mi_res_id"]
            }
            Host::AmlCompute(..) => {
                query.append_pair("api-version", "2017-09-01");
                ["clientid", "object_id", "mi_res_id"]
            }
        };
        query.append_pair("resource", audience.resource());
        let [client, object, resource] = ids;
        match &self.which {
            Which::System => {}
            Which::Client(id) => drop(query.append_pair(client, id)),
            Which::Object(id) => drop(query.append_pair(object, id)),
            Which::Resource(id) => drop(query.append_pair(resource, id)),
        }
        let query = query.finish();
        let bad = |url: &Url| Error::local(&doing, format!("{url} takes no query"));
        match &self.host {
            Host::Imds(base) => {
                let url =
                    base.below(&format!("/metadata/identity/oauth2/token?{query}")).map_err(|_no_target| bad(base))?;
                let request =
                    Request { also: &[404, 410], reach: Reach::Host, ..Request::get(Why::SignIn, doing, url) };
                Ok(request.with(HeaderName::from_static("metadata"), "true"))
            }
            Host::AppService(base, header) => {
                let url = base.at(&format!("{}?{query}", base.path())).map_err(|_no_target| bad(base))?;
                let request = Request { reach: Reach::Host, ..Request::get(Why::SignIn, doing, url) };
                request.with_secret(HeaderName::from_static("x-identity-header"), "", header)
            }
            Host::AmlCompute(base, secret) => {
                let url = base.at(&format!("{}?{query}", base.path())).map_err(|_no_target| bad(base))?;
                let request = Request { reach: Reach::Host, ..Request::get(Why::SignIn, doing, url) };
                // The documentation of Azure ML sends both.
                let request = request.with(HeaderName::from_static("metadata"), "true");
                request.with_secret(HeaderName::from_static("secret"), "", secret)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(variables: &[(&str, &str)]) -> Result<Host, String> {
        Host::find(|wanted| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value)))
    }

    fn target(which: Which, host: Host) -> String {
        let request = Managed { which, host }.request(&Audience::new("https://a/")).unwrap();
        assert_eq!(request.reach, Reach::Host);
        request.url.target().to_owned()
    }

    #[test]
    fn the_environment_says_which_host_it_is() {
        let secret = || Secret::new(b"s".to_vec());
        let url = |text| Url::parse(text).unwrap();
        assert_eq!(host(&[]), Ok(Host::Imds(url(IMDS))));
        assert_eq!(
            host(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")]),
            Ok(Host::Imds(url("http://127.0.0.1:1")))
        );
        let app = [("IDENTITY_ENDPOINT", "http://127.0.0.1:2/msi/token"), ("IDENTITY_HEADER", "s")];
        assert_eq!(host(&app), Ok(Host::AppService(url("http://127.0.0.1:2/msi/token"), secret())));
        let aml = [("MSI_ENDPOINT", "http://127.0.0.1:3/t"), ("MSI_SECRET", "s")];
        assert_eq!(host(&aml), Ok(Host::AmlCompute(url("http://127.0.0.1:3/t"), secret())));
        assert!(host(&[app[0], ("IMDS_ENDPOINT", "x")]).unwrap_err().contains("Azure Arc"));
        assert!(host(&aml[..1]).unwrap_err().contains("Cloud Shell"));
        assert!(host(&[app[0], app[1], ("IDENTITY_SERVER_THUMBPRINT", "x")]).unwrap_err().contains("Service Fabric"));
        assert!(host(&app[..1]).unwrap_err().contains("without `IDENTITY_HEADER`"));
    }

    #[test]
    fn each_host_is_asked_in_its_own_words() {
        let url = |text| Url::parse(text).unwrap();
        let secret = || Secret::new(b"s".to_vec());
        assert_eq!(
            target(Which::Client("c".into()), Host::Imds(url("http://127.0.0.1:1"))),
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fa%2F&client_id=c"
        );
        assert_eq!(
            target(Which::Resource("/r".into()), Host::AppService(url("http://h/msi/token"), secret())),
            "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fa%2F&mi_res_id=%2Fr"
        );
        assert_eq!(
            target(Which::Client("c".into()), Host::AmlCompute(url("http://h/t"), secret())),
            "/t?api-version=2017-09-01&resource=https%3A%2F%2Fa%2F&clientid=c"
        );
    }
}
