//! Which configuration a command reads.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;

use super::exit::{Exit, Stop};

const VARIABLE: &str = "SCOREGATE_CONFIG";
const PLACES: [&str; 2] = ["./scoregate.yaml", "/etc/scoregate/scoregate.yaml"];

#[derive(Debug, Clone, Args)]
pub(super) struct ConfigPath {
    /// The configuration [default: $SCOREGATE_CONFIG, ./scoregate.yaml, /etc/scoregate/scoregate.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigPath {
    /// The file that was named, else the first default that is there.
    pub(super) fn find(self) -> Result<PathBuf, Stop> {
        find(self.config, std::env::var_os(VARIABLE), Path::exists)
    }

    /// The same, where there need be none.
    pub(super) fn find_if_any(self) -> Option<PathBuf> {
        self.find().ok()
    }
}

/// What somebody named is taken whether it is there or not: the error should be about that file.
fn find(named: Option<PathBuf>, variable: Option<OsString>, exists: impl Fn(&Path) -> bool) -> Result<PathBuf, Stop> {
    named
        .or_else(|| variable.filter(|value| !value.is_empty()).map(PathBuf::from))
        .or_else(|| PLACES.into_iter().map(PathBuf::from).find(|place| exists(place)))
        .ok_or_else(|| {
            let [here, system] = PLACES;
            Stop::new(
                Exit::Usage,
                format_args!("no configuration: name one with -c FILE or ${VARIABLE}, or write {here} or {system}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_wins_then_the_variable_then_what_is_there() {
        let all = |_: &Path| true;
        let system = |path: &Path| path.starts_with("/etc");
        let none = |_: &Path| false;
        assert_eq!(find(Some("a".into()), Some("b".into()), all).unwrap(), Path::new("a"));
        assert_eq!(find(None, Some("b".into()), all).unwrap(), Path::new("b"));
        assert_eq!(find(None, Some("".into()), all).unwrap(), Path::new("./scoregate.yaml"));
        assert_eq!(find(None, None, system).unwrap(), Path::new("/etc/scoregate/scoregate.yaml"));
        let stop = find(None, None, none).unwrap_err();
        assert_eq!(stop.exit, Exit::Usage);
        assert!(stop.message.contains("-c FILE"), "{}", stop.message);
    }
}
