#!/usr/bin/env bash
# Builds the real parts that tests and the demo run on, and links them into .tools/bin.
# tools/README.md says what they are and how their pins are changed.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BIN=$ROOT/.tools/bin
LOGS=$ROOT/.tools/logs
APT_OPTIONS=()
CACHE=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/opamp-operator/tools

# One part a row. "package" is below the module; "./" means our own source around it.
# "cold" is the time on two busy cores with nothing cached.
PARTS='
# part                   recipe     program                  cold   pinned in                        package                        module whose version it has
etcd                     go         etcd                     1_min  tools/etcd                       .                              go.etcd.io/etcd/server/v3
kube-apiserver           go         kube-apiserver           5_min  tools/kubernetes                 cmd/kube-apiserver             k8s.io/kubernetes
kubectl                  go         kubectl                  20_s   tools/kubernetes                 cmd/kubectl                    k8s.io/kubernetes
kube-controller-manager  go         kube-controller-manager  1_min  tools/kubernetes                 cmd/kube-controller-manager    k8s.io/kubernetes
opampsupervisor          go         opampsupervisor          1_min  tools/opampsupervisor            .                              github.com/open-telemetry/opentelemetry-collector-contrib/cmd/opampsupervisor
collector                collector  otelcol                  1_min  tools/collector,tests/collector  .                              go.opentelemetry.io/collector/cmd/builder
descriptors              go         opamp-descriptors        5_s    tests/witnesses/opamp-go         ./descriptors                  github.com/open-telemetry/opamp-go
go-client                go         opamp-go-client          5_s    tests/witnesses/opamp-go         ./client                       github.com/open-telemetry/opamp-go
node-client              node       opamp-node-client        5_s    tests/witnesses/node             -                              @elastic/opamp-client-node
python-client            python     opamp-python-client      15_s   tests/witnesses/python           -                              opentelemetry-opamp-client
helm                     go         helm                     2_min  tools/helm                       cmd/helm                       helm.sh/helm/v4
promtool                 go         promtool                 2_min  tools/prometheus                 cmd/promtool                   github.com/prometheus/prometheus
prometheus               go         prometheus               2_min  tools/prometheus                 cmd/prometheus                 github.com/prometheus/prometheus
crane                    go         crane                    30_s   tools/crane                      cmd/crane                      github.com/google/go-containerregistry
nginx                    debian     nginx                    10_s   tools/nginx                      -                              -
gateway-api              crds       gateway-api-crds.yaml    5_s    tools/gateway-api                config/crd/standard            sigs.k8s.io/gateway-api
prometheus-operator      crds       prometheus-crds.yaml     5_s    tools/prometheus-operator        example/prometheus-operator-crd github.com/prometheus-operator/prometheus-operator
cert-manager             crds       cert-manager-crds.yaml   5_s    tools/cert-manager               deploy/crds                    github.com/cert-manager/cert-manager
'

usage() {
  cat <<EOF
usage: tools/build.sh [PART...]         build these parts, or all
       tools/build.sh --list            print each part, its version and where it is
       tools/build.sh --pin-collector   write tests/collector/go.mod and go.sum anew from builder.yaml
parts: $(part_names | paste -sd ' ' -)
EOF
}

main() {
  case ${1:-} in
    -h | --help) usage ;;
    --list) list_parts ;;
    --pin-collector) pin_collector ;;
    -*) die "unknown option $1; see tools/build.sh --help" ;;
    *) build_parts "$@" ;;
  esac
}

build_parts() {
  local names=${*:-$(part_names)} part
  for part in $names; do # all complaints come before the first long build
    load_part "$part"
    need_"$RECIPE"
  done
  mkdir -p "$BIN" "$LOGS" "$CACHE"
  trap on_exit EXIT
  for part in $names; do
    load_part "$part"
    ensure_part
  done
  say "all ready in .tools/bin ($SECONDS s)"
}

list_parts() {
  local part
  for part in $(part_names); do
    load_part "$part"
    printf '%-24s %-9s %s\n' "$PART" "$(version)" "$(where_built)"
  done
}

# ---- the table ----

part_names() { awk 'NF && $1 != "#" {print $1}' <<<"$PARTS"; }

# load_part makes one row the current part.
load_part() {
  local row
  row=$(awk -v part="$1" '$1 == part' <<<"$PARTS")
  [[ -n $row ]] || die "unknown part $1; the parts are: $(part_names | paste -sd ' ' -)"
  read -r PART RECIPE PROGRAM COLD FOLDERS PACKAGE MODULE <<<"$row"
  FOLDER=$ROOT/${FOLDERS%%,*}
}

# version reads the part's version where it is pinned.
version() {
  case $RECIPE in
    node) sed -n "s|.*\"$MODULE\": \"\(.*\)\".*|\1|p" "$FOLDER/package.json" ;;
    python) sed -n "s|^$MODULE==\([^ ]*\).*|\1|p" "$FOLDER/requirements.txt" ;;
    debian) if [[ -n $(installed_nginx) ]]; then echo 'from the PATH'; else echo 'from Debian'; fi ;;
    *) awk -v m="$MODULE" '{for (i = 1; i < NF; i++) if ($i == m && $(i + 1) ~ /^v[0-9]/) {print $(i + 1); exit}}' "$FOLDER/go.mod" ;;
  esac
}

where_built() {
  if [[ -e $BIN/$PROGRAM ]]; then readlink "$BIN/$PROGRAM"; else echo 'not built'; fi
}

# ---- one part ----

ensure_part() {
  local home
  home=$CACHE/$PART-$(digest)
  if [[ -d $home ]]; then
    say "$PART $(version): up to date"
  else
    build_once "$home"
  fi
  link "$home/$PROGRAM" "$BIN/$PROGRAM"
}

# link replaces in one step: a test may be starting the program right now.
link() {
  if [[ $(readlink "$2") != "$1" ]]; then
    ln -sfn "$1" "$2.$$"
    mv -f "$2.$$" "$2"
  fi
}

# digest names everything that the built part depends on.
digest() {
  { pin_digests && declare -f "build_$RECIPE" go_build tags ldflags launcher && toolchain_"$RECIPE"; } | sha256 | cut -c1-16
}

pin_digests() (
  cd "$ROOT"
  IFS=, read -ra folders <<<"$FOLDERS"
  find "${folders[@]}" -name node_modules -prune -o -type f \
    \( -name '*.go' -o -name 'go.*' -o -name 'builder.yaml' -o -name '*.mjs' -o -name 'package*.json' \
    -o -name '*.py' -o -name 'requirements.txt' -o -name 'packages.txt' \) -print | LC_ALL=C sort | while read -r file; do
    echo "$file $(sha256 <"$file")"
  done
)

# build_once builds into a folder of its own and renames it when it is whole, so that
# an interrupted build leaves nothing that looks finished.
build_once() {
  local home=$1 started=$SECONDS
  lock
  if [[ -d $home ]]; then
    say "$PART $(version): built by another run"
  else
    say "$PART $(version): building (about ${COLD/_/ } when nothing is cached)"
    build_into "$home"
    say "$PART $(version): built in $((SECONDS - started)) s"
  fi
  unlock
}

build_into() {
  rm -rf "$CACHE/.$PART".* # left by a run that was killed: the lock is ours
  TEMP=$(mktemp -d "$CACHE/.$PART.XXXXXX")
  LOG=$LOGS/$PART.log
  (build_"$RECIPE" "$TEMP") >"$LOG" 2>&1
  LOG=
  mv "$TEMP" "$1"
}

# on_exit also runs when a build fails or is interrupted.
on_exit() {
  local status=$?
  if [[ $status -ne 0 && -n ${LOG:-} ]]; then
    say "$PART: failed; the end of ${LOG#"$ROOT"/}:" >&2
    tail -n 25 "$LOG" >&2
  fi
  rm -rf "${TEMP:-}"
  unlock
}

# ---- recipes: each fills the folder it is given, in a process of its own ----

build_go() {
  cd "$FOLDER"
  case $PACKAGE in
    .) go_build "$1/$PROGRAM" "$MODULE" ;;
    ./*) go_build "$1/$PROGRAM" "$PACKAGE" ;;
    *) go_build "$1/$PROGRAM" "$MODULE/$PACKAGE" ;;
  esac
}

# build_collector lets ocb write the sources, but takes the committed go.mod and go.sum
# instead of what would be resolved today.
build_collector() {
  collector_sources "$1"
  check_collector_pins
  ../ocb --config builder.yaml --skip-get-modules --skip-compilation
  cp "$ROOT/tests/collector/go.mod" "$ROOT/tests/collector/go.sum" .
  go_build "../$PROGRAM" .
  rm -rf "$1/src" "$1/ocb"
}

build_node() {
  cp "$FOLDER/package.json" "$FOLDER/package-lock.json" "$FOLDER/agent.mjs" "$1"
  cd "$1"
  npm ci --ignore-scripts --no-audit --no-fund
  # shellcheck disable=SC2016 # expanded by the launcher
  launcher "$PROGRAM" 'node "$here/agent.mjs"'
}

build_python() {
  cp "$FOLDER/requirements.txt" "$FOLDER/agent.py" "$1"
  cd "$1"
  python3 -m venv venv
  venv/bin/python -m pip install --no-input --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt
  # shellcheck disable=SC2016 # expanded by the launcher
  launcher "$PROGRAM" '"$here/venv/bin/python" "$here/agent.py"'
}

# build_crds takes the definitions that manifests in docs/ and in the chart need out of a module, which has them as
# files.
build_crds() {
  local dir plural plurals
  case $PART in
    gateway-api) plurals='gateways httproutes tlsroutes backendtlspolicies' ;;
    prometheus-operator) plurals='servicemonitors prometheusrules' ;;
    cert-manager) plurals='certificates' ;;
  esac
  cd "$FOLDER"
  GOTOOLCHAIN=local go mod download "$MODULE"
  dir=$(GOTOOLCHAIN=local GOWORK=off go list -m -f '{{.Dir}}' "$MODULE")/$PACKAGE
  for plural in $plurals; do
    echo ---
    cat "$dir"/*_"$plural".yaml
  done >"$1/$PROGRAM"
}

# build_debian takes the nginx of the PATH, else Debian's packages, which are unpacked and not installed. There is
# no older version to pin: Debian serves the latest of a release only, and signs it.
build_debian() {
  local found modules libraries packages
  found=$(installed_nginx)
  modules=$(stream_module "$found")
  if [[ -z $found ]]; then
    cd "$1"
    mapfile -t packages < <(grep -v '^#' "$FOLDER/packages.txt")
    fetch_debian "${packages[@]}"
    # shellcheck disable=SC2016 # expanded by the launcher
    found='$here/root/usr/sbin/nginx' modules='$here/root/usr/lib/nginx/modules/ngx_stream_module.so'
    # shellcheck disable=SC2016 # expanded by the launcher
    libraries=$(cd root && find . -name 'lib*.so.*' -printf '$here/root/%h\n' | sort -u | paste -sd :)
  fi
  cd "$1"
  launcher "$PROGRAM" "env LD_LIBRARY_PATH=\"${libraries:-}\" \"$found\" -e stderr ${modules:+-g \"load_module $modules;\"}"
  "./$PROGRAM" -V
}

# installed_nginx prints the path of an nginx that is installed and can do what tests ask for: log to stderr, and
# pass connections on as they are.
installed_nginx() {
  local found version
  found=$(PATH=$PATH:/usr/sbin command -v nginx) || return 0
  version=$("$found" -v 2>&1 | sed -n 's|.*nginx/\([0-9.]*\).*|\1|p')
  if at_least 1.20 "${version:-0}" && { has_stream "$found" || [[ -e $(stream_module "$found") ]]; }; then
    echo "$found"
  fi
}

has_stream() { "$1" -V 2>&1 | grep -qE -- '--with-stream( |$)'; }

# stream_module prints where an nginx has its module for streams, unless that is built in.
stream_module() {
  if [[ -n $1 ]] && ! has_stream "$1"; then
    "$1" -V 2>&1 | sed -n 's|.*--modules-path=\([^ ]*\).*|\1/ngx_stream_module.so|p'
  fi
}

# fetch_debian unpacks these packages, and the libraries that they need, into the folder root. It asks with the lists
# that the machine has, then with fresh ones of its own, for which nobody has to be root.
fetch_debian() {
  download_debian "$@" || {
    mkdir -p apt/lists/partial apt/archives/partial
    APT_OPTIONS=(-o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt" -o Debug::NoLocking=1)
    apt-get "${APT_OPTIONS[@]}" -o "APT::Sandbox::User=$(id -un)" update || true
    download_debian "$@" || {
      echo "Debian's packages cannot be had: install ${*}, so that nginx is on the PATH"
      return 1
    }
  }
  local package
  for package in ./*.deb; do
    dpkg -x "$package" root
  done
  rm -rf apt ./*.deb root/usr/share
}

download_debian() {
  local libraries
  rm -f ./*.deb
  libraries=$(apt-cache "${APT_OPTIONS[@]}" depends "$@" | awk '$1 == "Depends:" && $2 ~ /^lib/ && $2 != "libc6" {print $2}' | sort -u) &&
    # shellcheck disable=SC2086 # one word for each
    apt-get "${APT_OPTIONS[@]}" -o "APT::Sandbox::User=$(id -un)" download "$@" $libraries
}

# go_build OUTPUT PACKAGE: no C, and no path or commit of ours in the result.
go_build() {
  GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 \
    go build -buildvcs=false -trimpath -tags "$(tags)" -ldflags "-s -w $(ldflags)" -o "$1" "$2"
}

# tags leave out what we do not use: Prometheus would bring the client of every cloud. Its web pages are left out
# without a tag: they are in no Go module.
tags() {
  case $MODULE in
    github.com/prometheus/prometheus) echo remove_all_sd ;;
  esac
}

# ldflags tells the programs that ask for it their own version.
ldflags() {
  local v package=k8s.io/component-base/version major minor patch
  v=$(version)
  case $MODULE in
    k8s.io/kubernetes)
      IFS=. read -r major minor _ <<<"${v#v}"
      echo "-X $package.gitVersion=$v -X $package.gitMajor=$major -X $package.gitMinor=$minor"
      ;;
    helm.sh/helm/v4) echo "-X helm.sh/helm/v4/internal/version.version=$v" ;;
    github.com/prometheus/prometheus) # 3.15.0 is published as v0.315.0
      IFS=. read -r _ minor patch <<<"$v"
      echo "-X github.com/prometheus/common/version.Version=${minor:0:1}.$((10#${minor:1})).$patch"
      ;;
  esac
}

# launcher writes a starter that finds its own folder behind the link in .tools/bin.
launcher() {
  cat >"$1" <<EOF
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec $2 "\$@"
EOF
  chmod +x "$1"
}

# ---- the collector's sources and pins ----

# collector_sources builds ocb, copies our folder and goes there.
collector_sources() {
  cd "$FOLDER"
  go_build "$1/ocb" "$MODULE"
  cp -R "$ROOT/tests/collector" "$1/src"
  cd "$1/src"
}

check_collector_pins() {
  local module version
  while read -r module version; do
    if [[ $module != fleet.opamp.dev/* ]] && ! grep -qF "$module $version" go.mod; then
      echo "builder.yaml asks for $module $version and go.mod does not: run tools/build.sh --pin-collector"
      return 1
    fi
  done < <(sed -n 's/^ *- gomod: //p' builder.yaml)
}

pin_collector() {
  load_part collector
  need_collector
  TEMP=$(mktemp -d)
  trap on_exit EXIT
  collector_sources "$TEMP"
  GOTOOLCHAIN=local GOWORK=off ../ocb --config builder.yaml --skip-compilation
  cp go.mod go.sum "$ROOT/tests/collector/"
  say 'tests/collector/go.mod and go.sum are written: look at the difference and commit it'
}

# ---- what must be there first ----

need_go() {
  local needed have
  needed=$(awk '$1 == "go" {print $2}' "$FOLDER/go.mod")
  command -v go >/dev/null || die "$PART needs Go $needed or newer, and there is no go on the PATH: install it from https://go.dev/dl/"
  have=$(GOTOOLCHAIN=local go env GOVERSION)
  at_least "$needed" "${have#go}" || die "$PART needs Go $needed or newer, and this is ${have#go}: install it from https://go.dev/dl/"
}

need_collector() { need_go; }

need_node() {
  local have
  { command -v node && command -v npm; } >/dev/null || die "$PART needs Node.js 20.6 or newer with npm: install nodejs and npm"
  have=$(node --version)
  at_least 20.6 "${have#v}" || die "$PART needs Node.js 20.6 or newer, and this is ${have#v}: install a newer nodejs"
}

need_python() {
  local have
  command -v python3 >/dev/null || die "$PART needs Python 3.10 or newer: install python3 and python3-venv"
  have=$(python3 -c 'import platform; print(platform.python_version())')
  at_least 3.10 "$have" || die "$PART needs Python 3.10 or newer, and this is $have: install a newer python3"
  python3 -c 'import ensurepip, venv' 2>/dev/null || die "$PART needs Python's venv module: install python3-venv"
}

need_crds() { need_go; }

need_debian() {
  [[ -n $(installed_nginx) ]] || { command -v apt-get && command -v dpkg; } >/dev/null ||
    die "$PART is neither installed nor to be had by apt-get: install nginx 1.20 or newer with its stream module"
}

toolchain_go() { GOTOOLCHAIN=local go env GOVERSION GOOS GOARCH; }
toolchain_collector() { toolchain_go; }
toolchain_node() { node --version; }
toolchain_crds() { :; }
toolchain_debian() {
  declare -f installed_nginx stream_module fetch_debian download_debian
  uname -m
  installed_nginx
  grep '^VERSION_ID' /etc/os-release || true
}
toolchain_python() { python3 -c 'import sys; print(sys.version, sys.executable)'; }

# ---- locks ----

# lock keeps a second run from building the same part; it ends with the process.
lock() {
  if command -v flock >/dev/null; then
    exec 9>"$CACHE/$PART.lock"
    flock -n 9 || wait_for_lock
  else
    lock_by_folder "$CACHE/$PART.lock.d"
  fi
}

wait_for_lock() {
  say "$PART: waiting for the build of another run"
  flock 9
}

# lock_by_folder serves where flock is missing; the lock of a dead owner is taken over.
lock_by_folder() {
  until mkdir "$1" 2>/dev/null; do
    kill -0 "$(cat "$1/pid" 2>/dev/null || echo $$)" 2>/dev/null || rm -rf "$1"
    sleep 1
  done
  echo $$ >"$1/pid"
  FOLDER_LOCK=$1
}

unlock() {
  exec 9>&-
  rm -rf "${FOLDER_LOCK:-}"
  FOLDER_LOCK=
}

# ---- small things ----

say() { echo "tools: $*"; }

die() {
  say "$*" >&2
  exit 1
}

# at_least NEEDED HAVE
at_least() { printf '%s\n%s\n' "$1" "$2" | sort -V -C; }

sha256() {
  if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

main "$@"
