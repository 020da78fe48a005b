#!/usr/bin/env bash
# What `make image` does: builds the Dockerfile with the engine at hand. Where there is none it builds the same image
# without: the program by the same script, and an archive that Docker, Podman and registries take.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$ROOT"
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)
CREATED=${CREATED:-$(git log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)}
IMAGE=${IMAGE:-opamp-operator}
PLATFORMS=${PLATFORMS:-linux/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')}
PUSH=${PUSH:-0}
PROFILE=${PROFILE:-release}
FOLDER=${CARGO_TARGET_DIR:-$ROOT/target}/image
ARCHIVE=${ARCHIVE:-$FOLDER/opamp-operator-$VERSION.tar}
# A name without a tag gets the version, which is what the chart asks for.
[[ ${IMAGE##*/} == *:* ]] || IMAGE=$IMAGE:$VERSION

main() {
  local engine
  engine=$(choose_engine)
  say "$IMAGE for $PLATFORMS, with ${engine/none/no engine}"
  build_with_"$engine"
}

# choose_engine prints the first engine that answers: a client without its server is none.
choose_engine() {
  case ${ENGINE:-} in
    docker | podman | buildah | none) echo "$ENGINE" && return ;;
    '') ;;
    *) die "ENGINE is $ENGINE: there are docker, podman, buildah and none" ;;
  esac
  if answers docker info && answers docker buildx version; then
    echo docker
  elif answers podman info; then
    echo podman
  elif answers buildah info; then
    echo buildah
  else
    echo none
  fi
}

answers() { "$@" >/dev/null 2>&1; }

build_with_docker() {
  local result=--load
  if [[ $PUSH == 1 ]]; then
    result=--push
  elif [[ $PLATFORMS == *,* ]]; then # an engine keeps images of its own platform only
    mkdir -p "$(dirname "$ARCHIVE")"
    result=--output=type=oci,dest=$ARCHIVE
  fi
  build_arguments
  docker buildx build "${ARGUMENTS[@]}" --tag "$IMAGE" "$result" .
  say "done: $IMAGE ${result#--}"
}

build_with_podman() { build_like_podman podman; }
build_with_buildah() { build_like_podman buildah; }

build_like_podman() {
  build_arguments
  "$1" manifest rm "$IMAGE" >/dev/null 2>&1 || true
  "$1" build "${ARGUMENTS[@]}" --manifest "$IMAGE" .
  if [[ $PUSH == 1 ]]; then
    "$1" manifest push --all "$IMAGE" "docker://$IMAGE"
  fi
  say "done: $IMAGE"
}

build_arguments() {
  ARGUMENTS=(--platform "$PLATFORMS" --build-arg "PROFILE=$PROFILE" --build-arg "VERSION=$VERSION"
    --build-arg "REVISION=$REVISION" --build-arg "CREATED=$CREATED")
}

# ---- without an engine ----

build_with_none() {
  local platform
  say 'neither docker with buildx nor podman nor buildah answers: the image is built without them'
  LAYOUT=$FOLDER/layout
  rm -rf "$LAYOUT"
  mkdir -p "$LAYOUT/blobs/sha256"
  MANIFESTS=()
  for platform in ${PLATFORMS//,/ }; do
    add_platform "$platform"
  done
  write_layout
  mkdir -p "$(dirname "$ARCHIVE")"
  tar "${PLAIN[@]}" -cf "$ARCHIVE" -C "$LAYOUT" .
  say "done: $ARCHIVE; 'docker load -i' and 'podman load -i' take it as $IMAGE"
  if [[ $PUSH == 1 ]]; then
    push
  fi
}

# The same files give the same bytes.
PLAIN=(--sort=name --owner=0 --group=0 --numeric-owner --mtime=@0)

add_platform() {
  local arch=${1#linux/} files=$FOLDER/files.${1#linux/} layer config manifest
  [[ $1 == linux/amd64 || $1 == linux/arm64 ]] || die "$1 is no platform of this image: there are linux/amd64 and linux/arm64"
  export TARGETARCH=$arch PROFILE
  tools/image/build.sh prepare
  tools/image/build.sh dependencies
  rm -rf "$files"
  tools/image/build.sh program "$files/opamp-operator"
  mkdir -p "$files/etc/ssl/certs"
  cp -L "$(authorities)" "$files/etc/ssl/certs/ca-certificates.crt"
  chmod -R u=rwX,go=rX "$files"
  tar "${PLAIN[@]}" -cf "$FOLDER/layer.tar" -C "$files" etc opamp-operator
  layer=$(digest "$FOLDER/layer.tar")
  config=$(config "$arch" "$layer" | blob)
  gzip -n <"$FOLDER/layer.tar" >"$FOLDER/layer.tar.gz"
  LAYERS=$(blob <"$FOLDER/layer.tar.gz")
  CONFIG=${CONFIG:-$config} LAYER=${LAYER:-$LAYERS}
  manifest=$(manifest "$config" "$LAYERS" | blob)
  MANIFESTS+=("{\"mediaType\":\"$OCI.manifest.v1+json\",$manifest,\"platform\":{\"architecture\":\"$arch\",\"os\":\"linux\"}}")
}

OCI=application/vnd.oci.image

# authorities is the file in which this machine has the authorities of the public web.
authorities() {
  local file
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    [[ ! -e $file ]] || { echo "$file" && return; }
  done
  die 'there are no authorities of the public web on this machine: install ca-certificates'
}

# What the Dockerfile's last stage says of the image, as the engines write it.
config() {
  cat <<EOT
{"created":"$CREATED","architecture":"$1","os":"linux","config":{"User":"$(said USER)","ExposedPorts":{$(ports)},
"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":$(said ENTRYPOINT),
"WorkingDir":"/","Labels":{$(labels)}},"rootfs":{"type":"layers","diff_ids":["$2"]},
"history":[{"created":"$CREATED","created_by":"tools/image/image.sh"}]}
EOT
}

said() { sed -n '/^FROM scratch/,$'"s/^$1 //p" Dockerfile; }

ports() { said EXPOSE | tr ' ' '\n' | sed 's|.*|"&/tcp":{}|' | paste -sd ,; }

labels() {
  said LABEL | sed "s/^\([^=]*\)=/\"\1\":/; s/\$VERSION/$VERSION/; s/\$REVISION/$REVISION/; s/\$CREATED/$CREATED/" | paste -sd ,
}

manifest() {
  cat <<EOT
{"schemaVersion":2,"mediaType":"$OCI.manifest.v1+json","config":{"mediaType":"$OCI.config.v1+json",$1},
"layers":[{"mediaType":"$OCI.layer.v1.tar+gzip",$2}]}
EOT
}

# write_layout writes the index of an OCI layout, and beside it what "docker load" of every age reads, which knows one
# platform: the first.
write_layout() {
  local all
  all=$(IFS=, && echo "${MANIFESTS[*]}")
  echo '{"imageLayoutVersion":"1.0.0"}' >"$LAYOUT/oci-layout"
  echo "{\"schemaVersion\":2,\"mediaType\":\"$OCI.index.v1+json\",\"manifests\":[$all]}" >"$LAYOUT/index.json"
  echo "[{\"Config\":\"$(path "$CONFIG")\",\"RepoTags\":[\"$IMAGE\"],\"Layers\":[\"$(path "$LAYER")\"]}]" >"$LAYOUT/manifest.json"
}

# push hands the layout to crane: the platform alone, or all of them under one name.
push() {
  local crane=crane
  command -v crane >/dev/null || crane=$ROOT/.tools/bin/crane
  [[ $crane == crane || -x $crane ]] || die "PUSH needs docker, podman, buildah or crane: install one, or run 'tools/build.sh crane'"
  if [[ $PLATFORMS == *,* ]]; then
    "$crane" push --index "$LAYOUT" "$IMAGE"
  else
    "$crane" push "$LAYOUT" "$IMAGE"
  fi
  say "pushed: $IMAGE"
}

# blob keeps what it reads under its digest, and prints digest and size as members of a descriptor.
blob() {
  local file=$LAYOUT/blob sum
  cat >"$file"
  sum=$(digest "$file")
  echo "\"digest\":\"$sum\",\"size\":$(wc -c <"$file" | tr -d ' ')"
  mv "$file" "$LAYOUT/blobs/sha256/${sum#sha256:}"
}

digest() { echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"; }

# path is where the blob of a descriptor is.
path() { sed 's|.*"sha256:\([0-9a-f]*\)".*|blobs/sha256/\1|' <<<"$1"; }

say() { echo "image: $*"; }

die() {
  say "$*" >&2
  exit 1
}

main
