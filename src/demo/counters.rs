//! The counters of the gate, while they change: rewritten in place on a terminal, a line for each change elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use super::show;
use crate::control::{admin::Operations, gate::Gate};

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Shows them until standard output is closed.
///
/// # Errors
/// Where nobody reads it.
pub(super) async fn show_for_ever(gate: &Arc<Gate>) -> anyhow::Result<()> {
    let mut before = String::new();
    loop {
        let line = line(&gate.metrics());
        if line != before {
            show(&on_screen(&line))?;
            before = line;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A line that is longer than the terminal would not be rewritten but pile up.
fn on_screen(line: &str) -> String {
    let out = io::stdout();
    if !out.is_terminal() {
        return format!("{line}\n");
    }
    let columns = rustix::termios::tcgetwinsize(out).map_or(0, |size| usize::from(size.ws_col));
    let shown: String = if columns > 1 { line.chars().take(columns - 1).collect() } else { line.to_owned() };
    format!("\r\x1b[K{shown}")
}

/// Answers in all, and for each route those that succeeded.
fn line(metrics: &str) -> String {
    let (mut answered, mut others) = (0, 0);
    let mut routes: BTreeMap<&str, u64> = BTreeMap::new();
    for sample in metrics.lines().filter(|line| line.starts_with("scoregate_requests_total{")) {
        let count = sample.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
        if label(sample, "code_class") == Some("2xx") {
            answered += count;
            *routes.entry(label(sample, "route").unwrap_or_default()).or_default() += count;
        } else {
            others += count;
        }
    }
    let routes = routes.iter().map(|(route, count)| format!("   {route} {count}")).collect::<String>();
    format!("answered {answered}   refused or failed {others}{routes}")
}

/// The value of a label of a sample in Prometheus' text format; names of routes need no escapes.
fn label<'a>(sample: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = sample.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_and_the_rest_together() {
        let metrics = "\
# TYPE scoregate_requests_total counter
scoregate_requests_total{code_class=\"2xx\",listener=\"demo\",route=\"aks-key\"} 3
scoregate_requests_total{code_class=\"2xx\",listener=\"demo\",route=\"aci-open\"} 1
scoregate_requests_total{code_class=\"4xx\",listener=\"demo\",route=\"aks-key\"} 2
scoregate_requests_total{code_class=\"5xx\",listener=\"demo\",route=\"none\"} 1
scoregate_in_flight{endpoint=\"aks-key\"} 7
";
        assert_eq!(line(metrics), "answered 4   refused or failed 3   aci-open 1   aks-key 3");
        assert_eq!(line(""), "answered 0   refused or failed 0");
    }
}
