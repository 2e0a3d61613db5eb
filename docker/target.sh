# Docker's names of architectures in Rust's words. Sourced; runs nothing by itself.
# shellcheck shell=bash
target_of() {
    case ${1:-$(uname -m)} in
        amd64 | x86_64) echo x86_64-unknown-linux-gnu ;;
        arm64 | aarch64) echo aarch64-unknown-linux-gnu ;;
        *)
            echo "unknown architecture \`$1\`: amd64 or arm64" >&2
            return 1
            ;;
    esac
}
