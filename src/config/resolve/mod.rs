//! What was typed becomes what it means: files read, names looked up, rules that span keys checked.
//!
//! [`load`] is what `run`, `check` and the reload call; each section has a file of its own below. A section never stops
//! at its first fault, and goes on with what is sound of its parts: what it makes of a file with a fault is never used,
//! so it need not be whole.

mod callers;
mod context;
mod endpoints;
mod identities;
mod limits;
mod listeners;
mod played;
mod rotation;
mod routes;
mod secrets;
mod settings;
mod tls;
mod tokens;
mod workspaces;

use std::path::{Path, PathBuf};

use self::context::Context;
pub(crate) use self::secrets::secret_of;
use super::{
    expand::expand,
    fault::{Fault, Faults, Position, Report},
    marked::{self, Node},
    model::Config,
    path::KeyPath,
    raw, shape,
    sources::{Env, Files},
};

/// Room for a hundred thousand caller keys or routes; the rest of loading takes time and memory in proportion.
const LARGEST: usize = 16 << 20;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What somebody should look at, in the order of the file.
    pub warnings: Vec<Fault>,
    /// Every file that was read, the configuration's own first: what a watcher watches.
    pub files: Vec<PathBuf>,
    /// Where secrets stand that come from environment variables, with the variables: those cannot change while the process runs.
    pub variables: Vec<String>,
}

/// Reads a configuration file and everything that it names.
///
/// # Errors
/// Every fault of the file, and its warnings.
pub fn load(path: &Path, env: &dyn Env, files: &dyn Files) -> Result<Loaded, Faults> {
    match files.read(path) {
        Ok(text) => parse(&text, path, env, files),
        Err(error) => {
            let mut report = Report::new(path);
            report.error(None, &KeyPath::root(), error.to_string(), "a configuration file");
            report.conclude(None).map(|(loaded, _)| loaded)
        }
    }
}

/// Reads the text of a configuration, and the files that it names.
///
/// `source` is where the text came from: relative paths start at its folder, and messages name it.
///
/// # Errors
/// Every fault of the text, and its warnings.
pub fn parse(text: &[u8], source: &Path, env: &dyn Env, files: &dyn Files) -> Result<Loaded, Faults> {
    let mut report = Report::new(source);
    let Some(mut tree) = tree(text, &mut report) else {
        return report.conclude(None).map(|(loaded, _)| loaded);
    };
    expand(&mut tree, &KeyPath::root(), env, &mut report);
    let raw = shape::check(&tree, &mut report).and_then(|value| {
        raw::read(value)
            .inspect_err(|raw::DoesNotFit| {
                let found = "what the schema allows and the program cannot read";
                report.error(None, &KeyPath::root(), found, "both to agree").hint("please report this");
            })
            .ok()
    });
    let mut cx = Context::new(&tree, source, report, env, files);
    let config = raw.map(|raw| config(&mut cx, &raw, source));
    let (read, report) = cx.finish();
    let (config, warnings) = report.conclude(config)?;
    let files = std::iter::once(source.to_owned()).chain(read.files).collect();
    Ok(Loaded { config, warnings, files, variables: read.variables })
}

/// The text as a tree, or the one thing that is wrong with all of it.
fn tree(text: &[u8], report: &mut Report) -> Option<Node> {
    let root = KeyPath::root();
    if text.len() > LARGEST {
        report.error(None, &root, format!("{} bytes", text.len()), format!("at most {LARGEST}"));
        return None;
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let sound = text.get(..error.valid_up_to()).unwrap_or_default();
            report.error(Some(end_of(sound)), &root, "bytes that are not UTF-8", "UTF-8");
            return None;
        }
    };
    match marked::parse(text) {
        Ok(Some(tree)) => Some(tree),
        Ok(None) => {
            report.error(None, &root, "an empty file", "a configuration").hint("it begins with `version: 1`");
            None
        }
        Err(fault) => {
            report.error(Some(fault.at), &root, fault.found, fault.expected).hint = fault.hint.map(str::to_owned);
            None
        }
    }
}

/// The position after the last of these bytes, which are UTF-8.
fn end_of(bytes: &[u8]) -> Position {
    let text = String::from_utf8_lossy(bytes);
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    Position { line: text.matches('\n').count() + 1, column: last_line.chars().count() + 1 }
}

fn config(cx: &mut Context<'_>, raw: &raw::Config, source: &Path) -> Config {
    let routes = routes::routes(cx, raw);
    let timeouts = settings::timeouts(raw);
    Config {
        source: source.to_owned(),
        workers: settings::workers(raw),
        state_dir: cx.place(raw.state_dir.as_deref(), "/var/lib/scoregate"),
        watch: raw.watch != Some(raw::OnOff::Off),
        listeners: listeners::listeners(cx, raw, &routes),
        health: raw.health.as_ref().and_then(|health| Some(health.address.as_ref()?.0)),
        admin: listeners::admin(cx, raw),
        identities: identities::identities(cx, raw),
        workspaces: workspaces::workspaces(cx, raw),
        endpoints: endpoints::endpoints(cx, raw, &routes, &timeouts),
        callers: callers::callers(cx, raw),
        routes,
        readiness: settings::readiness(cx, raw),
        limits: settings::limits(cx, raw),
        timeouts,
        log: settings::log(raw),
    }
}
