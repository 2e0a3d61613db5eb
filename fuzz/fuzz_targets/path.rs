//! Paths: what is matched is what is forwarded, and every server behind us reads it in one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scoregate::proxy::path::{Canonical, Special, canonicalize};
use scoregate_fuzz::resolved;

fuzz_target!(|raw: &str| {
    let Ok(Canonical { path, special }) = canonicalize(raw) else { return };
    let again = canonicalize(&path).expect("a canonical path has a canonical form");
    assert_eq!(again.path, path, "the canonical form is a fixed point");
    // What was in a segment that `..` took away counts too: it was asked for.
    assert!(again.special.allowed_by(special), "{raw}: special characters that came from nowhere");

    assert!(
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>`{}|^".contains(&byte))
    );
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (last, inner) = segments.split_last().expect("it begins with a slash");
    assert!(inner.iter().all(|segment| !segment.is_empty()), "{path}: an empty segment");
    // A server that reads `\` and what is encoded as separators, and cuts parameters off.
    let lenient = path.replace("%2F", "/").replace("%5C", "/").replace('\\', "/");
    for segment in lenient.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        assert!(!matches!(name, "." | ".."), "{path}: climbs");
    }
    if special == Special::NONE {
        assert_eq!(resolved(raw), resolved(&path), "another place than was asked for");
        let ends_open = matches!(raw.rsplit('/').next().map(unescaped_dots).as_deref(), Some("" | "." | ".."));
        assert_eq!(
            last.is_empty(),
            ends_open || inner.is_empty() && last.is_empty(),
            "{raw} {path}: the slash at the end"
        );
    }
});

fn unescaped_dots(segment: &str) -> String {
    segment.replace("%2e", ".").replace("%2E", ".")
}
