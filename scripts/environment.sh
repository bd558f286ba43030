# shellcheck shell=bash
# Sourced by the other scripts. It says where things are and puts a Rust toolchain that is new enough on PATH,
# for the calling script only. It installs nothing and asks no network.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this one
target=${CARGO_TARGET_DIR:-$root/target}
# The one place that names the oldest Rust is the workspace's manifest.
rust_minimum=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$root/Cargo.toml" | head -n 1)
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

# at_least VERSION MINIMUM
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# version_of PROGRAM: the version of rustc or cargo as this repository would use it, or nothing.
version_of() {
    (cd "$root" && { RUSTUP_AUTO_INSTALL=0 "$1" --version 2>/dev/null || true; }) | sed -n '1s/^[a-z]* \([0-9.]*\).*/\1/p'
}

# Both programs on PATH run and are new enough.
rust_is_enough() {
    at_least "$(version_of cargo)" "$rust_minimum" && at_least "$(version_of rustc)" "$rust_minimum"
}

# use_rust: takes the toolchain on PATH, else one that is installed but not on PATH or not chosen.
use_rust() {
    rust_is_enough && return
    local folder name path=$PATH
    for folder in "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/lib/rust-*/bin; do
        [ -x "$folder/cargo" ] || continue
        PATH=$folder:$path
        rust_is_enough && return
        # rustup without the toolchain that rust-toolchain.toml asks for, but perhaps with another.
        if [ -x "$folder/rustup" ]; then
            for name in $("$folder/rustup" toolchain list 2>/dev/null | awk '{ print $1 }' | sort -rV); do
                export RUSTUP_TOOLCHAIN=$name
                rust_is_enough && return
            done
            unset RUSTUP_TOOLCHAIN
        fi
    done
    PATH=$path
    return 1
}
