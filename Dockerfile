# syntax=docker/dockerfile:1
# The image of the operator: one static program, the authorities of the public web, and nothing else. `make image`
# builds it. The commands are in tools/image/build.sh, which tests run without an engine.

# The stage that compiles runs on the builder's own architecture and compiles for the image's.
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
WORKDIR /build
ARG TARGETARCH
COPY tools/image/build.sh tools/image/
RUN packages=$(tools/image/build.sh packages) && \
    if [ -n "$packages" ]; then apt-get update && apt-get install --yes --no-install-recommends $packages; fi
RUN --mount=type=cache,target=/usr/local/cargo/registry tools/image/build.sh prepare
# A layer of its own for the crates of others: it is built anew when their versions change, and not with our sources.
ARG PROFILE=release
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/usr/local/cargo/registry tools/image/build.sh dependencies
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry tools/image/build.sh program /build/out/opamp-operator

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/out/opamp-operator /opamp-operator
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="opamp-operator"
LABEL org.opencontainers.image.description="Manages fleets of OpenTelemetry Collectors through OpAMP"
LABEL org.opencontainers.image.licenses="Apache-2.0"
LABEL org.opencontainers.image.version="$VERSION"
LABEL org.opencontainers.image.revision="$REVISION"
LABEL org.opencontainers.image.created="$CREATED"
# The user that the chart runs it as.
USER 65532:65532
EXPOSE 4320 8080
ENTRYPOINT ["/opamp-operator"]
