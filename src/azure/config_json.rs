//! `config.json`: where a workspace is, as Microsoft's SDK writes it, and where the SDK looks for it. Pure: whoever calls it reads
//! the files.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::workspace::Place;

/// In this order, each looked for the whole way up the tree before the next: `.azureml/config.json` in a grandparent comes before
/// a bare `config.json` here.
const NAMES: [&str; 6] = [
    ".azureml/config.json",
    ".azureml/project.json",
    "aml_config/config.json",
    "aml_config/project.json",
    "config.json",
    "project.json",
];

/// Every file to try from a folder upwards, in the SDK's order.
pub fn candidates(folder: &Path) -> impl Iterator<Item = PathBuf> {
    NAMES.into_iter().flat_map(move |name| folder.ancestors().map(move |folder| folder.join(name)))
}

#[derive(Deserialize)]
struct Written {
    /// Of old: the workspace's resource id, which wins where it is there.
    #[serde(rename = "Scope")]
    scope: Option<String>,
    subscription_id: Option<String>,
    resource_group: Option<String>,
    workspace_name: Option<String>,
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(json: &[u8]) -> Result<Place, String> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let written: Written = serde_json::from_slice(json)
        .map_err(|error| format!("a file that is not this JSON (line {}, column {})", error.line(), error.column()))?;
    if let Some(scope) = written.scope {
        // `/subscriptions/S/resourceGroups/R/providers/Microsoft.MachineLearningServices/workspaces/W`
        let pieces: Vec<&str> = scope.split('/').collect();
        let piece = |at: usize| pieces.get(at).filter(|piece| !piece.is_empty()).map(|piece| (*piece).to_owned());
        return match (piece(2), piece(4), piece(8)) {
            (Some(subscription), Some(resource_group), Some(name)) => {
                Ok(Place { subscription, resource_group: Some(resource_group), name })
            }
            _ => Err("a file whose `Scope` is not the resource id of a workspace".to_owned()),
        };
    }
    let demanded = |value: Option<String>, name: &str| {
        value.filter(|value| !value.is_empty()).ok_or_else(|| format!("a file without `{name}`"))
    };
    Ok(Place {
        subscription: demanded(written.subscription_id, "subscription_id")?,
        resource_group: Some(demanded(written.resource_group, "resource_group")?),
        name: demanded(written.workspace_name, "workspace_name")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_the_old_one_wins() {
        let place = Place { subscription: "s".into(), resource_group: Some("r".into()), name: "w".into() };
        let new = r#"{"subscription_id":"s","resource_group":"r","workspace_name":"w"}"#;
        assert_eq!(parse(new.as_bytes()), Ok(place.clone()));
        assert_eq!(parse(&[b"\xef\xbb\xbf", new.as_bytes()].concat()), Ok(place.clone()));
        let old = r#"{"Scope":"/subscriptions/s/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w",
                      "subscription_id":"other"}"#;
        assert_eq!(parse(old.as_bytes()), Ok(place));
    }

    #[test]
    fn a_file_that_is_none_says_why() {
        assert!(parse(b"").unwrap_err().contains("line 1"));
        assert_eq!(parse(b"{}").unwrap_err(), "a file without `subscription_id`");
        assert!(parse(br#"{"Scope":"/subscriptions/s"}"#).unwrap_err().contains("`Scope`"));
    }

    #[test]
    fn the_folder_of_dots_comes_first_the_whole_way_up() {
        let all: Vec<PathBuf> = candidates(Path::new("/a/b")).collect();
        assert_eq!(
            all[..4],
            [
                "/a/b/.azureml/config.json",
                "/a/.azureml/config.json",
                "/.azureml/config.json",
                "/a/b/.azureml/project.json"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(all.last(), Some(&PathBuf::from("/project.json")));
    }
}
