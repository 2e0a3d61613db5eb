//! Which Azure: the public one, a sovereign one, or a private authority with a CA of its own.
//!
//! `config` makes one for each identity. Addresses and audiences of the known clouds are those of the Azure CLI's and the
//! machine-learning SDK's own lists.

use std::{fmt, sync::Arc};

use super::{
    http::Trust,
    url::{Url, UrlError},
};

/// The addresses that an identity belongs to, and what its tokens are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// Identity provider: `https://login.microsoftonline.com`.
    pub authority: Url,
    /// Resource manager: `https://management.azure.com`.
    pub resource_manager: Url,
    /// What tokens for the resource manager and model management are for.
    pub audience: Audience,
    /// What tokens for scoring at an online endpoint are for.
    pub scoring: Audience,
    /// What follows `REGION.` in the host of a region's machine-learning services.
    pub region_suffix: &'static str,
    /// Who vouches for these addresses, in place of the platform's authorities.
    pub ca: Option<Authorities>,
}

/// A private set of certificate authorities, with the digest of their file.
#[derive(Clone)]
pub struct Authorities {
    /// The certificates.
    pub roots: Arc<rustls::RootCertStore>,
    /// Equal means unchanged.
    pub digest: [u8; 32],
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({} certificates)", self.roots.len())
    }
}

/// A cloud that Microsoft runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Everywhere else.
    Public,
    /// 21Vianet's.
    China,
    /// The US government's.
    UsGov,
}

impl Known {
    const ALL: [Self; 3] = [Self::Public, Self::China, Self::UsGov];

    /// Login, resource manager, scoring audience, region suffix.
    const fn addresses(self) -> [&'static str; 4] {
        match self {
            Self::Public => [
                "https://login.microsoftonline.com",
                "https://management.azure.com",
                "https://ml.azure.com",
                "api.azureml.ms",
            ],
            Self::China => [
                "https://login.chinacloudapi.cn",
                "https://management.chinacloudapi.cn",
                "https://ml.azure.cn",
                "api.ml.azure.cn",
            ],
            Self::UsGov => [
                "https://login.microsoftonline.us",
                "https://management.usgovcloudapi.net",
                "https://ml.azure.us",
                "api.ml.azure.us",
            ],
        }
    }

    /// Its addresses.
    #[must_use]
    #[expect(clippy::expect_used, reason = "constants, each parsed by a test")]
    pub fn cloud(self) -> Cloud {
        let [authority, resource_manager, scoring, region_suffix] = self.addresses();
        let parse = |text| Url::parse(text).expect("a URL");
        Cloud {
            authority: parse(authority),
            resource_manager: parse(resource_manager),
            audience: Audience::new(resource_manager),
            scoring: Audience::new(scoring),
            region_suffix,
            ca: None,
        }
    }
}

impl Cloud {
    /// The cloud whose identity provider this is; where it is nobody's, one of which everything else is the public cloud's.
    ///
    /// # Errors
    /// Where it is no URL.
    pub fn of_authority(authority: &str) -> Result<Self, UrlError> {
        let authority = Url::parse(authority)?;
        let mut clouds = Known::ALL.into_iter().map(Known::cloud);
        Ok(match clouds.find(|cloud| cloud.authority.has_origin_of(&authority)) {
            Some(known) => known,
            None => Self { authority, ..Known::Public.cloud() },
        })
    }

    /// Whose certificates are believed on the way there.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.ca.as_ref().map_or(Trust::Platform, |ca| Trust::Only(Arc::clone(&ca.roots)))
    }
}

/// What a token is for: a resource, letter by letter. A slash at its end makes another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Audience(String);

impl Audience {
    /// From a resource, or a scope that ends in `/.default`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.strip_suffix("/.default").unwrap_or(text).to_owned())
    }

    /// As the v2 token endpoint takes it.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("{}/.default", self.0)
    }

    /// As the v1 token endpoint and managed identities take it.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_cloud_has_addresses() {
        for known in Known::ALL {
            let cloud = known.cloud();
            assert!(cloud.authority.is_tls() && cloud.resource_manager.is_tls());
            assert_eq!(Cloud::of_authority(&format!("{}/", cloud.authority.origin())).unwrap(), cloud);
        }
        let private = Cloud::of_authority("https://login.corp.example/").unwrap();
        assert_eq!(private.resource_manager, Known::Public.cloud().resource_manager);
    }

    #[test]
    fn a_slash_at_the_end_of_an_audience_stays() {
        assert_eq!(Audience::new("https://a/").scope(), "https://a//.default");
        assert_eq!(Audience::new("https://a//.default").resource(), "https://a/");
        assert_eq!(Audience::new("https://a/.default").resource(), "https://a");
    }
}
