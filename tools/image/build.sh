#!/usr/bin/env bash
# Builds the program for the container image: one static binary that carries the list of its crates.
# The Dockerfile runs this in three steps, one layer each; `make image` without an engine and tests/image.rs run the same.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
AUDITABLE=0.7.7
PROFILE=${PROFILE:-release}
TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}/image
CACHE=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/opamp-operator/tools

usage() {
  cat <<EOT
usage: tools/image/build.sh packages        print the Debian packages that are missing to build for TARGETARCH
       tools/image/build.sh prepare         get cargo-auditable $AUDITABLE and Rust's library for TARGETARCH
       tools/image/build.sh dependencies    build all crates but our own
       tools/image/build.sh program FILE    build the program, and put it there
environment: TARGETARCH (amd64 or arm64; this machine's), PROFILE (of cargo; release), CARGO_TARGET_DIR
EOT
}

main() {
  choose_target
  case ${1:-} in
    packages) packages ;;
    prepare) prepare ;;
    dependencies) dependencies ;;
    program) program "${2:?a file to put the program in}" ;;
    -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
  esac
}

# glibc, and not musl: its allocator is the one with which everything was measured, and since 2.34 it finds names in
# files and by DNS without loading anything at run time. tests/image.rs shows that an empty root is enough.
choose_target() {
  HOST=$(rustc -vV | sed -n 's/^host: //p')
  case ${TARGETARCH:-${HOST%%-*}} in
    amd64 | x86_64) TRIPLE=x86_64-unknown-linux-gnu GCC=x86_64-linux-gnu ;;
    arm64 | aarch64) TRIPLE=aarch64-unknown-linux-gnu GCC=aarch64-linux-gnu ;;
    *) die "TARGETARCH is ${TARGETARCH:-$HOST}: there are amd64 and arm64" ;;
  esac
}

is_foreign() { [[ $TRIPLE != "$HOST" ]]; }

# packages are the compiler and the C library for another architecture.
packages() {
  if is_foreign && ! command -v "$GCC-gcc" >/dev/null; then
    case $TRIPLE in
      aarch64-*) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
      x86_64-*) echo gcc-x86-64-linux-gnu libc6-dev-amd64-cross ;;
    esac
  fi
}

prepare() {
  local missing home=$CACHE/cargo-auditable-$AUDITABLE
  missing=$(packages)
  [[ -z $missing ]] || die "building for $TRIPLE needs a compiler for it: apt-get install $missing"
  if [[ ! -x $home/bin/cargo-auditable ]]; then
    cargo install --quiet --locked cargo-auditable --version "$AUDITABLE" --root "$home"
  fi
  if is_foreign; then
    rustup target add "$TRIPLE"
  fi
}

# dependencies builds an empty library with our manifest. Crates of the registry do not depend on who uses them, so what
# this leaves in TARGET_DIR serves the real one as long as the manifest and the lock file stay the same. Its version is
# another one: else cargo would take what is empty, and newer than our sources, for the program.
dependencies() {
  local empty=$TARGET_DIR/empty
  manifest "$empty"
  sed -i '0,/^version = /s/^version = .*/version = "0.0.0"/' "$empty/Cargo.toml"
  sed -i '/^name = "opamp-operator"$/{n;s/.*/version = "0.0.0"/}' "$empty/Cargo.lock"
  mkdir -p "$empty/src/bin"
  echo '//! Nothing: what is wanted are the crates that it needs.' >"$empty/src/lib.rs"
  echo 'fn main() {}' | tee "$empty/src/main.rs" >"$empty/src/bin/fleetsim.rs"
  compile "$empty" --lib
}

program() {
  local whole=$TARGET_DIR/whole profile=$PROFILE
  manifest "$whole"
  ln -sfn "$ROOT/src" "$whole/src"
  compile "$whole" --bin opamp-operator
  [[ $profile != dev ]] || profile=debug
  mkdir -p "$(dirname "$1")"
  cp "$TARGET_DIR/$TRIPLE/$profile/opamp-operator" "$1"
  is_foreign || [[ $("$1" --version) == "opamp-operator "* ]] || die "$1 is not the program"
}

# manifest leaves out examples and benches: their sources are not needed here, and cargo would miss them. It is a
# workspace of its own, since TARGET_DIR may be below our folder.
manifest() {
  mkdir -p "$1"
  awk '/^\[/ {left_out = /^\[\[(example|bench)\]\]/} !left_out; END {print "[workspace]"}' "$ROOT/Cargo.toml" >"$1/Cargo.toml"
  cp "$ROOT/Cargo.lock" "$1/Cargo.lock"
}

# compile asks the kernel for random bytes by its call: to look for glibc's, a static program would have to load
# something, and would read /dev/urandom instead. It needs "--target" also for this machine's own architecture: without
# it the flags would be those of macros, too.
compile() {
  local linker
  linker=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$TRIPLE")_LINKER
  if is_foreign; then
    export "$linker=$GCC-gcc"
  fi
  cd "$1"
  PATH=$CACHE/cargo-auditable-$AUDITABLE/bin:$PATH CARGO_TARGET_DIR=$TARGET_DIR CARGO_INCREMENTAL=0 \
    RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' \
    cargo auditable build --locked --profile "$PROFILE" --target "$TRIPLE" "${@:2}"
}

die() {
  echo "image: $*" >&2
  exit 1
}

main "$@"
