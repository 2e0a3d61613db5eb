//! An application in the environment: `AML_TENANT_ID`, `AML_PRINCIPAL_ID` and `AML_PRINCIPAL_PASS`, as Azure's guide names them,
//! else the `AZURE_*` of Microsoft's libraries. Pure: whoever calls it knows the variables.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use crate::secret::Secret;

const GUIDE: [&str; 3] = ["AML_TENANT_ID", "AML_PRINCIPAL_ID", "AML_PRINCIPAL_PASS"];
const LIBRARIES: [&str; 2] = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"];
const SECRET: &str = "AZURE_CLIENT_SECRET";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The tenant.
    pub tenant: String,
    /// The application's id.
    pub client: String,
    /// Its proof.
    pub proof: Proof,
    /// The variable that holds the proof, for messages.
    pub proof_name: &'static str,
    /// The identity provider, where the environment names one.
    pub authority: Option<String>,
}

/// The proof that was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password.
    Secret(Secret),
    /// The path of a PEM file with certificate and key.
    Certificate(PathBuf),
}

/// Looks for an application. The first set of which any variable is there is the one that counts; half of it is a fault, and no
/// reason to look at the other.
///
/// # Errors
/// The variables that are missing, in words.
pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Found, String> {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    let missing = |names: &[&str]| {
        let absent: Vec<String> =
            names.iter().filter(|name| value(name).is_none()).map(|name| format!("`{name}`")).collect();
        (!absent.is_empty()).then(|| absent.join(" and "))
    };
    let text = |name: &str| {
        value(name).unwrap_or_default().into_string().map_err(|_not_text| format!("`{name}` is not UTF-8"))
    };
    let authority = value("AZURE_AUTHORITY_HOST").map(|_| text("AZURE_AUTHORITY_HOST")).transpose()?;
    let secret = |name: &str| Secret::new(value(name).unwrap_or_default().into_vec());

    if GUIDE.iter().any(|name| value(name).is_some()) {
        if let Some(absent) = missing(&GUIDE) {
            return Err(format!("no {absent} beside the other `AML_*` variables"));
        }
        let [tenant, client, password] = GUIDE;
        return Ok(Found {
            tenant: text(tenant)?,
            client: text(client)?,
            proof: Proof::Secret(secret(password)),
            proof_name: password,
            authority,
        });
    }
    if let Some(absent) = missing(&LIBRARIES) {
        return Err(format!("neither {} nor {absent}", GUIDE.map(|name| format!("`{name}`")).join(", ")));
    }
    let [tenant, client] = LIBRARIES;
    let (proof, proof_name) = if value(SECRET).is_some() {
        (Proof::Secret(secret(SECRET)), SECRET)
    } else if let Some(path) = value(CERTIFICATE) {
        if value("AZURE_CLIENT_CERTIFICATE_PASSWORD").is_some() {
            return Err("`AZURE_CLIENT_CERTIFICATE_PASSWORD`, and encrypted keys are not read".to_owned());
        }
        (Proof::Certificate(path.into()), CERTIFICATE)
    } else {
        return Err(format!("`{tenant}` and `{client}` without `{SECRET}` or `{CERTIFICATE}`"));
    };
    Ok(Found { tenant: text(tenant)?, client: text(client)?, proof, proof_name, authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Found, String> {
        find(|wanted| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value)))
    }

    const AML: [(&str, &str); 3] =
        [("AML_TENANT_ID", "t"), ("AML_PRINCIPAL_ID", "c"), ("AML_PRINCIPAL_PASS", "canary")];
    const AZURE: [(&str, &str); 3] =
        [("AZURE_TENANT_ID", "t2"), ("AZURE_CLIENT_ID", "c2"), ("AZURE_CLIENT_SECRET", "canary2")];

    #[test]
    fn the_guides_variables_come_first() {
        let both = found(&[AML, AZURE].concat()).unwrap();
        assert_eq!((both.tenant.as_str(), both.client.as_str(), both.proof_name), ("t", "c", "AML_PRINCIPAL_PASS"));
        let azure = found(&AZURE).unwrap();
        assert_eq!((azure.tenant.as_str(), azure.proof), ("t2", Proof::Secret(Secret::new(b"canary2".to_vec()))));
        let pem =
            [AZURE[0], AZURE[1], ("AZURE_CLIENT_CERTIFICATE_PATH", "/a.pem"), ("AZURE_AUTHORITY_HOST", "https://l/")];
        let pem = found(&pem).unwrap();
        assert_eq!((pem.proof, pem.authority.as_deref()), (Proof::Certificate("/a.pem".into()), Some("https://l/")));
    }

    #[test]
    fn half_a_set_is_no_reason_to_look_further() {
        let half = [&AML[..1], &AZURE[..]].concat();
        assert_eq!(
            found(&half).unwrap_err(),
            "no `AML_PRINCIPAL_ID` and `AML_PRINCIPAL_PASS` beside the other `AML_*` variables"
        );
        let none = found(&[("AML_TENANT_ID", "")]).unwrap_err();
        assert!(none.contains("AML_PRINCIPAL_PASS") && none.contains("`AZURE_CLIENT_ID`"), "{none}");
        assert!(found(&AZURE[..2]).unwrap_err().contains("without `AZURE_CLIENT_SECRET`"));
        let error = found(&[
            AZURE[0],
            AZURE[1],
            ("AZURE_CLIENT_CERTIFICATE_PATH", "a"),
            ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "canary"),
        ]);
        assert!(!error.unwrap_err().contains("canary"));
    }
}
