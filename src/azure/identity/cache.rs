//! What `scoregate login` keeps: refresh tokens, in one file that its owner alone can read.
//!
//! `login` of the configuration reads it, and writes it again when the identity provider hands out a newer token. A file that
//! somebody else could have read or written is refused, not repaired: who knows what is in it.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::oauth::SecretText;
use crate::secret::Secret;

const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache(pub PathBuf);

/// One sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Origin of the identity provider.
    pub authority: String,
    /// The tenant that was signed in to.
    pub tenant: String,
    /// The application that asked.
    pub client: String,
    /// Who it was, to be shown.
    pub user: Option<String>,
    /// What new tokens are asked for with.
    pub refresh_token: Secret,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Others can read or write it.
    #[error(
        "{0} can be read or written by others than its owner; remove it, change your passwords if you must, and sign in again"
    )]
    Exposed(PathBuf),
    /// It belongs to somebody else.
    #[error("{0} belongs to another user")]
    Foreign(PathBuf),
    /// It is not what this program writes.
    #[error("{0} is not what `scoregate login` writes; remove it and sign in again")]
    Unreadable(PathBuf),
    /// The system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    logins: Vec<ReadLogin>,
}

#[derive(Deserialize)]
struct ReadLogin {
    authority: String,
    tenant: String,
    client: String,
    user: Option<String>,
    refresh_token: SecretText,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    logins: Vec<WrittenLogin<'a>>,
}

#[derive(Serialize)]
struct WrittenLogin<'a> {
    authority: &'a str,
    tenant: &'a str,
    client: &'a str,
    user: Option<&'a str>,
    refresh_token: &'a str,
}

impl Cache {
    /// In the user's state directory; where there is none, in none.
    pub fn of_user(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        // A relative path is ignored, as the XDG base directory specification demands.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
        Some(Self(state.join("scoregate/logins.json")))
    }

    /// Everything that is kept; nothing where there is no file.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn read(&self) -> Result<Vec<Kept>, CacheError> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.io(error)),
        };
        let about = file.metadata().map_err(|error| self.io(error))?;
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(CacheError::Foreign(self.0.clone()));
        }
        if about.mode() & 0o077 != 0 {
            return Err(CacheError::Exposed(self.0.clone()));
        }
        let text = Secret::new(io::read_to_string(file).map_err(|error| self.io(error))?.into_bytes());
        let read: Read = match serde_json::from_slice(text.expose_bytes()) {
            Ok(read) => read,
            // What serde says may quote a token.
            Err(_) => return Err(CacheError::Unreadable(self.0.clone())),
        };
        if read.version != VERSION {
            return Err(CacheError::Unreadable(self.0.clone()));
        }
        let kept = |login: ReadLogin| Kept {
            authority: login.authority,
            tenant: login.tenant,
            client: login.client,
            user: login.user,
            refresh_token: login.refresh_token.0,
        };
        Ok(read.logins.into_iter().map(kept).collect())
    }

    /// Keeps a sign-in in place of an earlier one of the same provider, tenant and application. The last one kept is the first
    /// that is found where no tenant is named.
    ///
    /// # Errors
    /// Why it could not be kept.
    pub fn keep(&self, new: &Kept) -> Result<(), CacheError> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| self.io(error))?;
        // Two processes that renew at once would each lose what the other kept.
        let lock = private(OpenOptions::new().create(true).truncate(false), &self.0.with_extension("lock"));
        let lock = lock.map_err(|error| self.io(error))?;
        lock.lock().map_err(|error| self.io(error))?;
        let is_same =
            |kept: &Kept| (&kept.authority, &kept.tenant, &kept.client) == (&new.authority, &new.tenant, &new.client);
        let mut logins = self.read()?;
        logins.retain(|kept| !is_same(kept));
        logins.insert(0, new.clone());
        self.write(&logins)
    }

    /// Under another name first, so that nobody ever reads half of it.
    fn write(&self, logins: &[Kept]) -> Result<(), CacheError> {
        let unreadable = || CacheError::Unreadable(self.0.clone());
        let mut written = Vec::new();
        for kept in logins {
            written.push(WrittenLogin {
                authority: &kept.authority,
                tenant: &kept.tenant,
                client: &kept.client,
                user: kept.user.as_deref(),
                refresh_token: std::str::from_utf8(kept.refresh_token.expose_bytes())
                    .map_err(|_no_text| unreadable())?,
            });
        }
        let written = Written { version: VERSION, logins: written };
        let text = Secret::new(serde_json::to_vec_pretty(&written).map_err(|_no_text| unreadable())?);
        let unfinished = self.0.with_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.io(error)),
            Ok(()) | Err(_) => {}
        }
        let whole = || -> io::Result<()> {
            let mut file = private(OpenOptions::new().create_new(true), &unfinished)?;
            file.write_all(text.expose_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.0)
        };
        whole().map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> CacheError {
        CacheError::Io(self.0.clone(), error)
    }
}

fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in tenant {}", self.user.as_deref().unwrap_or("somebody"), self.tenant)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kept(tenant: &str, token: &str) -> Kept {
        Kept {
            authority: "https://login".into(),
            tenant: tenant.into(),
            client: "c".into(),
            user: Some("me@example".into()),
            refresh_token: Secret::new(token.as_bytes().to_vec()),
        }
    }

    #[test]
    fn what_is_kept_is_read_back_newest_first_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().join("state/logins.json"));
        assert_eq!(cache.read().unwrap(), []);
        cache.keep(&kept("a", "one")).unwrap();
        cache.keep(&kept("b", "two")).unwrap();
        cache.keep(&kept("a", "three")).unwrap();
        assert_eq!(cache.read().unwrap(), [kept("a", "three"), kept("b", "two")]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&cache.0), mode(cache.0.parent().unwrap())), (0o600, 0o700));
        assert!(!format!("{:?}", cache.read().unwrap()).contains("three"));
    }

    #[test]
    fn a_file_that_others_could_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().join("logins.json"));
        cache.keep(&kept("a", "canary")).unwrap();
        fs::set_permissions(&cache.0, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(cache.read(), Err(CacheError::Exposed(_))));
        assert!(matches!(cache.keep(&kept("a", "x")), Err(CacheError::Exposed(_))));
    }

    #[test]
    fn a_file_of_another_kind_is_refused_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().join("logins.json"));
        for text in ["canary", "", r#"{"version":2,"logins":[]}"#, r#"{"version":1,"logins":["canary"]}"#] {
            drop(fs::remove_file(&cache.0));
            private(OpenOptions::new().create(true), &cache.0).unwrap().write_all(text.as_bytes()).unwrap();
            let error = cache.read().unwrap_err().to_string();
            assert!(error.contains("is not what") && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn it_is_where_users_keep_state() {
        let of = |variables: &'static [(&str, &str)]| {
            Cache::of_user(|wanted| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[("HOME", "/h")]), Some(Cache("/h/.local/state/scoregate/logins.json".into())));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), Some(Cache("/s/scoregate/logins.json".into())));
        assert_eq!(of(&[("XDG_STATE_HOME", "s")]), None);
    }
}
