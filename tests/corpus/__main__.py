"""`tests/corpus/run`: plays the corpora and prints a table. Exit code 1 where scoregate fails a case."""

import argparse
import importlib
import json
import pkgutil
import re
import sys
import tempfile
import time
from pathlib import Path

from harness.gate import BINARY
from harness.pki import Pki

from . import cases as case_modules
from .core.case import CLASSES, Outcome
from .core.run import play_all
from .core.sections import unnamed
from .core.table import report, table
from .core.upstream import Loop

# What was found in the outputs of a target that ended.
LEAKS = []
PROFILES = ("usual", "slow", "few-descriptors")

# Where a demand comes from: a section of a document, an advisory, or a threat of README.md.
SECTION = re.compile(r"RFC \d+ [\w.]+|PROXY \d[\d.]*|CVE-\d+-\d+|threat \w+")
# Cases that there are at least.
LEAST = {"h1": 150, "h2": 60, "auth": 100}

# What scoregate is known to fail, and why it does so still. One that passes has to leave this list.
KNOWN = {
    ("h2: upstream", "a pseudo-header of requests"):
        "the h2 library drops a request's pseudo-header in an answer without a word; nothing of it goes on",
}


def all_cases():
    """Every case of every module, in the order of their names."""
    found = []
    for module in sorted(module.name for module in pkgutil.iter_modules(case_modules.__path__)):
        found += importlib.import_module(f"{case_modules.__name__}.{module}").CASES
    seen = set()
    for case in found:
        sent = (case.corpus, repr(getattr(case.play, "keywords", None) or case.name))
        assert sent not in seen, f"{case.name!r} is another case with another name"
        seen.add(sent)
        key = (case.corpus, case.klass, case.name)
        assert key not in seen, f"two cases are called {key}"
        assert case.klass in CLASSES, f"{key} is of no class: {case.klass}"
        assert SECTION.fullmatch(case.section), f"{key} names no section: {case.section!r}"
        seen.add(key)
    empty = set(CLASSES) - {case.klass for case in found}
    assert not empty, f"classes without a case: {empty}"
    for corpus, least in LEAST.items():
        assert sum(case.corpus == corpus for case in found) >= least, f"fewer than {least} cases in {corpus}"
    missing = unnamed(found)
    assert not missing, f"no case names {', '.join(missing)}"
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="tests/corpus/run", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also against nginx, HAProxy, Envoy and a plain byte relay")
    parser.add_argument("--targets", help="these alone, comma-separated: scoregate, nginx, haproxy, envoy, relay")
    parser.add_argument("--filter", default="", metavar="REGEX", help="cases whose `corpus/class/name` matches")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--verbose", action="store_true", help="failures of peers with their bytes, too")
    parser.add_argument("--json", metavar="FILE", help="write every verdict")
    return parser.parse_args()


def main():
    options = arguments()
    assert BINARY.exists(), f"{BINARY} is missing: `cargo build --release --locked` makes it"
    cases = [case for case in all_cases() if re.search(options.filter, f"{case.corpus}/{case.klass}/{case.name}")]
    if options.list:
        for case in cases:
            print(f"{case.corpus}/{case.klass}/{case.name}  {case.section}")
        print(f"{len(cases)} cases")
        return 0
    from .targets.peers import TARGETS  # the peers' programs are looked for only now

    names = options.targets.split(",") if options.targets else list(TARGETS) if options.peers else ["scoregate"]
    results_of, loop = {}, Loop()
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        pki = Pki(folder)
        for name in names:
            results_of[name] = against(TARGETS[name], cases, Path(folder), loop, pki, options)
    loop.stop()
    print(table(results_of))
    if options.json:
        write(options.json, results_of)
    return closing(results_of, options)


def against(kind, cases, folder, loop, pki, options):
    """Plays the cases against one target, profile by profile."""
    results = []
    shows = options.verbose or kind.name == "scoregate"

    def on_result(result):
        results.append(result)
        if shows and not result.verdict:
            print(report(result), flush=True)

    for profile in PROFILES:
        chosen = [case for case in cases if case.profile == profile and case.needs <= kind.has]
        if not chosen:
            continue
        began = time.monotonic()
        target = kind(folder / f"{kind.name}-{profile}", profile, loop, pki)
        try:
            lanes = target.start()
            play_all(chosen, lanes, on_result)
        finally:
            try:
                target.stop()
            except AssertionError as leak:
                LEAKS.append(f"{kind.name}: {leak}")
        kind.version = target.version
        print(f"{kind.name} {target.version}, {profile}: {len(chosen)} cases in {time.monotonic() - began:.0f} s",
            flush=True)
    return results


def write(file, results_of):
    verdicts = [
        {"target": name, "corpus": r.case.corpus, "class": r.case.klass, "name": r.case.name, "section": r.case.section,
         "outcome": r.verdict.outcome.value, "why": r.verdict.why, "seconds": round(r.seconds, 3)}
        for name, results in results_of.items() for r in results
    ]
    Path(file).write_text(json.dumps(verdicts, indent=1))


def closing(results_of, options):
    """The last line, and the exit code."""
    ours = results_of.get("scoregate", [])
    failed = [result for result in ours if not result.verdict and key_of(result) not in KNOWN]
    mended = [key_of(result) for result in ours if result.verdict and key_of(result) in KNOWN]
    if "relay" in results_of and not options.filter:
        problems = relay_passes_too_much(results_of["relay"])
        for problem in problems:
            print(f"a corpus is too easy: {problem}")
        if problems:
            return 1
    for leak in LEAKS:
        print(leak)
    for key in mended:
        print(f"known to fail, and passes: take {key} off the list of known failures")
    if ours:
        passed = sum(bool(result.verdict) for result in ours)
        known = len(ours) - passed - len(failed)
        print(f"\nscoregate: {passed} of {len(ours)} passed, {len(failed)} failed, {known} are known to fail")
    return 1 if failed or mended or LEAKS else 0


def key_of(result):
    """How a case is named in the list of known failures."""
    return result.case.klass, result.case.name


def relay_passes_too_much(results):
    """A relay without any defence must fail at least half of each corpus, and something of each class."""
    problems = []
    for what, key in (("corpus", lambda r: r.case.corpus), ("class", lambda r: r.case.klass)):
        for name in sorted({key(result) for result in results}):
            of = [result for result in results if key(result) == name]
            failed = sum(result.verdict.outcome is not Outcome.PASSED for result in of)
            # What it uses for TLS is no relay's doing.
            enough = 1 if what == "class" or name == "tls" else len(of) / 2
            if failed < enough:
                problems.append(f"a plain relay fails {failed} of {len(of)} of {what} {name!r}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
