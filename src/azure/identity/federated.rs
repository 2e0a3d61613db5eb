//! A token that somebody else issues to this machine into a file: Kubernetes' projected service-account token, above all.
//!
//! The file is read at each use: kubelet replaces it long before it expires, and whoever remembers it is refused one day.

use std::path::PathBuf;

use crate::secret::Secret;

/// A token is a few KiB.
const LARGEST: usize = 64 << 10;

/// A file whose whole content is a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile(pub PathBuf);

impl TokenFile {
    /// The token that is in it now.
    pub(super) async fn read(&self) -> Result<Secret, String> {
        let path = self.0.display();
        let bytes = tokio::fs::read(&self.0).await.map_err(|error| format!("the token file {path}: {error}"))?;
        let bytes = Secret::new(bytes);
        let token = bytes.expose_bytes().trim_ascii();
        if token.is_empty() {
            return Err(format!("the token file {path} is empty; whoever writes it may be about to"));
        }
        if token.len() > LARGEST || token.iter().any(|byte| !byte.is_ascii_graphic()) {
            return Err(format!("the token file {path} holds no token: one line of visible ASCII is expected"));
        }
        Ok(Secret::new(token.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile(folder.path().join("token"));
        assert!(file.read().await.unwrap_err().contains("No such file"));
        for (content, token) in [("one\n", "one"), ("two", "two")] {
            std::fs::write(&file.0, content).unwrap();
            assert_eq!(file.read().await.unwrap().expose_bytes(), token.as_bytes());
        }
        std::fs::write(&file.0, "\n").unwrap();
        assert!(file.read().await.unwrap_err().contains("is empty"));
        std::fs::write(&file.0, "canary\ntwo lines").unwrap();
        let error = file.read().await.unwrap_err();
        assert!(error.contains("holds no token") && !error.contains("canary"), "{error}");
    }
}
