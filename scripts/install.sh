#!/bin/sh
# Build micro from source and install it with completions for the shells that are found.
# Can be run again at any time: it replaces what it installed before. Also works when it is piped into
# a shell, outside of a clone.
set -eu

usage() {
    cat <<'TEXT'
Build micro from source and install it, with completions for bash, zsh and fish.

Usage: scripts/install.sh [OPTIONS]
       curl ... | sh -s -- --from URL [OPTIONS]

Options:
  --from URL         clone this git repository and build that; without it the clone is built that this
                     script lies in (default: MICRO_REPOSITORY, where that is set)
  --tag NAME         build this tag or branch of it, not the default branch
  --dist             build as releases are: a smaller and faster program, some minutes longer to build
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
from=
tag=
profile=release
while [ $# -gt 0 ]; do
    case $1 in
        --prefix)
            [ $# -ge 2 ] || usage_error "--prefix needs a folder"
            prefix=$2
            shift
            ;;
        --prefix=?*) prefix=${1#--prefix=} ;;
        --prefix=) usage_error "--prefix needs a folder" ;;
        --from)
            [ $# -ge 2 ] || usage_error "--from needs the URL of a repository"
            from=$2
            shift
            ;;
        --from=?*) from=${1#--from=} ;;
        --tag)
            [ $# -ge 2 ] || usage_error "--tag needs the name of a tag or a branch"
            tag=$2
            shift
            ;;
        --tag=?*) tag=${1#--tag=} ;;
        --dist) profile=dist ;;
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

# The clone that this script lies in; piped into a shell, it lies in none.
repository=
case $0 in
    */install.sh | install.sh)
        if [ -f "$0" ]; then
            repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
            [ -f "$repository/Cargo.toml" ] || repository=
        fi
        ;;
esac
if [ -z "$from" ] && { [ -z "$repository" ] || [ -n "$tag" ]; }; then
    from=${MICRO_REPOSITORY:-$repository}
fi
[ -n "$repository$from" ] || fail "this script lies in no clone of micro, so there is nothing to build" \
    "name a repository: --from URL, or MICRO_REPOSITORY"
if [ -n "$from" ] && ! has git; then
    fail "git is missing; it fetches $from" \
        "install it: Debian, Ubuntu: apt install git; Fedora: dnf install git; macOS: xcode-select --install"
fi

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

# The allocator, which Linux alone takes from jemalloc, is built with it.
[ "$(uname)" != Linux ] || has make || fail "make is missing; the allocator in micro is built with it" \
    "install it: Debian, Ubuntu: apt install make; Fedora: dnf install make"

if [ -n "$prefix" ]; then
    mkdir -p -- "$prefix" || fail "cannot create $prefix"
    prefix=$(CDPATH='' cd -- "$prefix" && pwd)
    root=$prefix
else
    root=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-${HOME:?HOME is not set; name a folder with --prefix}/.cargo}}
fi

if [ -n "$from" ]; then
    # A relative path is one of the caller.
    if [ -d "$from" ]; then
        from=$(CDPATH='' cd -- "$from" && pwd)
    fi
    repository=$(mktemp -d) || fail "cannot make a folder for temporary files"
    trap 'rm -rf -- "$repository"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    say "Fetching $from${tag:+ at $tag}."
    git clone --quiet --depth 1 ${tag:+--branch "$tag"} -- "$from" "$repository" \
        || fail "git could not fetch $from${tag:+ at $tag}; its words stand above"
    [ -f "$repository/Cargo.toml" ] || fail "$from is no repository of micro: it has no Cargo.toml"
fi

say "Building micro from ${from:-$repository}; this takes some minutes."
cargo install --locked --force --profile "$profile" --path "$repository" --root "$root" \
    || fail "cargo could not build or install micro; its words stand above"
micro=$root/bin/micro
[ -x "$micro" ] || fail "cargo installed no $micro"
say "Installed $micro ($("$micro" --version))."

# Writes the script of a shell into a file; half a file is never left behind.
write_completion() {
    mkdir -p -- "$(dirname -- "$2")" || fail "cannot create $(dirname -- "$2")"
    if ! "$micro" completion "$1" >"$2.new" || ! mv -f -- "$2.new" "$2"; then
        fail "cannot write $2"
    fi
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
        write_completion bash "$data/bash-completion/completions/micro"
    fi
    if has zsh; then
        write_completion zsh "$data/zsh/site-functions/_micro"
        say "  zsh finds it when ~/.zshrc has, before compinit: fpath=($data/zsh/site-functions \$fpath)"
    fi
    if has fish; then
        write_completion fish "$fish"
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
