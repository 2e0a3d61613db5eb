//! `workspaces`: where each is, from the SDK's file or as written.

use std::{io, path::Path};

use super::context::Context;
use crate::{
    azure::{config_json, workspace::Place},
    config::{model::Workspace, path::KeyPath, raw},
};

pub(super) fn workspaces(cx: &mut Context<'_>, raw: &raw::Config) -> Vec<Workspace> {
    let path = KeyPath::root().key("workspaces");
    let workspaces = raw.workspaces.iter().flatten().filter_map(|(name, raw)| Some((name, raw.as_ref()?)));
    workspaces.filter_map(|(name, typed)| workspace(cx, raw, name, typed, &path.key(name))).collect()
}

fn workspace(
    cx: &mut Context<'_>,
    raw: &raw::Config,
    name: &str,
    typed: &raw::Workspace,
    path: &KeyPath,
) -> Option<Workspace> {
    let identities = || raw.identities.iter().flatten().map(|(name, _)| name.as_str());
    if let Some(identity) = &typed.identity
        && !identities().any(|known| known == identity)
    {
        cx.unknown_name(&path.key("identity"), identity, "an identity", identities());
    }
    let place = match &typed.config_file {
        Some(written) => {
            for (key, is_written) in
                [("resource_group", typed.resource_group.is_some()), ("name", typed.name.is_some())]
            {
                if is_written {
                    cx.error(&path.key(key), "a key beside `config_file`", "either the file or what stands in it");
                }
            }
            of_file(cx, written, &path.key("config_file"))
        }
        None => written(cx, typed, path),
    };
    Some(Workspace { name: name.to_owned(), identity: typed.identity.clone().unwrap_or_default(), place: place? })
}

fn written(cx: &mut Context<'_>, typed: &raw::Workspace, path: &KeyPath) -> Option<Place> {
    let subscription = typed.subscription_id.clone()?;
    let Some(name) = typed.name.clone() else {
        if !cx.is_written(&path.key("name")) {
            cx.missing(&path.key("name"), "the workspace's name");
        }
        return None;
    };
    Some(Place { subscription, resource_group: typed.resource_group.clone(), name })
}

/// A file is taken as it is; in a folder the SDK's names are looked for, upwards.
fn of_file(cx: &mut Context<'_>, written: &str, path: &KeyPath) -> Option<Place> {
    let file = cx.file(written);
    let content = match cx.look(&file) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => found(cx, &file, path)?,
        // Says what is wrong with it.
        Err(_) => cx.read(path, written)?,
    };
    match config_json::parse(&content) {
        Ok(place) => Some(place),
        Err(why) => {
            cx.error(path, why, "the SDK's `config.json`: `subscription_id`, `resource_group`, `workspace_name`");
            None
        }
    }
}

fn found(cx: &mut Context<'_>, folder: &Path, path: &KeyPath) -> Option<Vec<u8>> {
    // As far up as there is something above; a folder that has no absolute path is searched as it is.
    let folder = std::path::absolute(folder).unwrap_or_else(|_unnamed| folder.to_owned());
    for candidate in config_json::candidates(&folder) {
        if let Ok(content) = cx.look(&candidate) {
            return Some(content);
        }
    }
    let found = format!("no `.azureml/config.json` or `config.json` in {} or above it", folder.display());
    cx.error(path, found, "a folder of a workspace").hint("the portal and `Workspace.write_config()` write the file");
    None
}
