//! A configuration: every fault has a place in the file and quotes no secret, and what `check` accepts `run` can start with.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use scoregate::{
    config::{self, fault::Fault},
    control::{attach::Attached, build::Carried},
};
use scoregate_fuzz::{Nowhere, SERVICE_KEY, contains};

fuzz_target!(|bytes: &[u8]| {
    // It stands in a variable and in a file; where the text itself has it, it may stand where no secret does.
    if contains(bytes, SERVICE_KEY) {
        return;
    }
    match config::parse(bytes, Path::new("/nowhere/scoregate.yaml"), &Nowhere, &Nowhere) {
        Ok(loaded) => {
            placed(bytes, loaded.warnings.iter());
            let shown = config::redacted(&loaded.config).to_string();
            for text in [shown, format!("{:?}", loaded.config)] {
                assert!(!text.contains(SERVICE_KEY), "{text}");
            }
            let built = Carried::default().build(&loaded.config, &Attached::new(), 1, 1);
            if let Err(why) = built {
                panic!("`check` accepts what cannot be run: {why:#}");
            }
        }
        Err(faults) => {
            assert!(faults.iter().count() > 0);
            placed(bytes, faults.iter());
        }
    }
});

fn placed<'f>(bytes: &[u8], faults: impl Iterator<Item = &'f Fault>) {
    // YAML takes a carriage return alone for the end of a line.
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 2;
    for fault in faults {
        let text = fault.to_string();
        assert!(!text.contains(SERVICE_KEY), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}: more than a line");
        assert!(!fault.found.is_empty() && !fault.expected.is_empty());
        if let Some(at) = fault.position {
            assert!(at.line >= 1 && at.column >= 1 && at.line <= lines, "{text}: no such line");
        }
    }
}
