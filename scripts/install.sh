#!/bin/sh
# Build micro from this repository and install it with completions for the shells that are found.
# Can be run again at any time: it replaces what it installed before.
set -eu

usage() {
    cat <<'TEXT'
Build micro from source and install it, with completions for bash, zsh and fish.

Usage: scripts/install.sh [OPTIONS]

Options:
  --prefix FOLDER    install the program into FOLDER/bin, and completions below FOLDER/share
                     (default: cargo's own folder, and the folders of your user)
  --no-completions   install the program alone
  --help             print this text
TEXT
}

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then
        printf 'hint: %s\n' "$2" >&2
    fi
    exit 1
}

usage_error() {
    printf 'error: %s\nhint: scripts/install.sh --help shows the options\n' "$1" >&2
    exit 2
}

has() {
    command -v "$1" >/dev/null 2>&1
}

prefix=
completions=yes
while [ $# -gt 0 ]; do
    case $1 in
        --prefix)
            [ $# -ge 2 ] || usage_error "--prefix needs a folder"
            prefix=$2
            shift
            ;;
        --prefix=?*) prefix=${1#--prefix=} ;;
        --prefix=) usage_error "--prefix needs a folder" ;;
        --no-completions) completions=no ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) usage_error "there is no option $1" ;;
    esac
    shift
done

case $(uname -s) in
    Linux | Darwin) ;;
    *) fail "micro runs on Linux and macOS, not on $(uname -s)" ;;
esac

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
[ -f "$repository/Cargo.toml" ] || fail "there is no Cargo.toml in $repository" \
    "run this script from a clone of the repository"

# A fresh rustup is not on PATH before the next login.
if ! has cargo && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH"
fi
has cargo || fail "cargo is missing" \
    "install Rust, for instance with rustup or with the packages of your system, then run this again"
# Rust links with `cc`; the database in micro is compiled by `cc` or by what CC names.
compiler=${CC:-cc}
for program in cc "${compiler%% *}"; do
    has "$program" || fail "the C compiler $program is missing; the database in micro is written in C" \
        "install one: Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install"
done

if [ -n "$prefix" ]; then
    mkdir -p -- "$prefix" || fail "cannot create $prefix"
    prefix=$(CDPATH='' cd -- "$prefix" && pwd)
    root=$prefix
else
    root=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-${HOME:?HOME is not set; name a folder with --prefix}/.cargo}}
fi

say "Building micro from $repository; this takes some minutes."
cargo install --locked --force --path "$repository" --root "$root" \
    || fail "cargo could not build or install micro; its words stand above"
micro=$root/bin/micro
[ -x "$micro" ] || fail "cargo installed no $micro"
say "Installed $micro ($("$micro" --version))."

# Writes the script of a shell into a file; half a file is never left behind.
complete() {
    mkdir -p -- "$(dirname -- "$2")" || fail "cannot create $(dirname -- "$2")"
    "$micro" completion "$1" >"$2.new" && mv -f -- "$2.new" "$2" \
        || fail "cannot write $2"
    say "Installed $2."
}

if [ "$completions" = yes ]; then
    if [ -n "$prefix" ]; then
        data=$prefix/share
        fish=$prefix/share/fish/vendor_completions.d/micro.fish
    else
        data=$HOME/.local/share
        fish=$HOME/.config/fish/completions/micro.fish
    fi
    if has bash; then
        complete bash "$data/bash-completion/completions/micro"
    fi
    if has zsh; then
        complete zsh "$data/zsh/site-functions/_micro"
        say "  zsh finds it when ~/.zshrc has, before compinit: fpath=($data/zsh/site-functions \$fpath)"
    fi
    if has fish; then
        complete fish "$fish"
    fi
    say "Completions work in shells that are started from now on."
fi

say ""
case ":$PATH:" in
    *":$root/bin:"*) say "Next: micro quickstart" ;;
    *)
        say "$root/bin is not on your PATH. Next:"
        say "  export PATH=\"$root/bin:\$PATH\"     # and into the profile of your shell"
        say "  micro quickstart"
        ;;
esac
