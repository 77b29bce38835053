# The image of the operator: both executables, and nothing but the files that they
# need. No shell, no package manager, not root.
#
#   docker build -t dbupgrade:dev .
#
# script/image builds it without a registry, for tests and the demo.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS tools
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        gcc libc6-dev libcjson-dev libcurl4-openssl-dev libgnutls28-dev libmicrohttpd-dev \
        libssl-dev libyaml-dev meson ninja-build pkg-config uthash-dev \
 && rm -rf /var/lib/apt/lists/*

FROM tools AS build
WORKDIR /source
COPY . .
ARG COMMIT=unknown
RUN meson setup /build --prefix=/ --bindir=/ --buildtype=release -Doptimization=2 -Db_lto=true -Dtests=false -Dcommit="${COMMIT}" \
 && meson install -C /build --destdir=/install --strip
RUN script/image-root /image /install/dbupgrade-webhook /install/dbupgrade-reconciler

FROM scratch
LABEL org.opencontainers.image.title="dbupgrade" \
      org.opencontainers.image.description="Kubernetes operator for database migrations" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
USER 65532:65532
