# SPDX-License-Identifier: Apache-2.0
# The image of the operator: both executables, and nothing but the files that they
# need. No shell, no package manager, not root.
#
#   docker build -t localhost/dbupgrade:dev .
#   docker buildx build --platform linux/arm64 -t localhost/dbupgrade:dev .
#
# It is compiled on the builder's own architecture for the target's: nothing is
# emulated. script/image builds it without a registry, for tests and the demo.
ARG BASE=debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${BASE} AS tools
ARG TARGETARCH
COPY script/image-tools /usr/local/bin/image-tools
RUN image-tools "${TARGETARCH}"

FROM tools AS build
ARG TARGETARCH
WORKDIR /source
COPY . .
ARG COMMIT=unknown
RUN meson setup /build --cross-file /cross.ini --prefix=/ --bindir=/ --buildtype=release -Doptimization=2 -Db_lto=true -Dtests=false -Dplugin=false -Dcommit="${COMMIT}" \
 && meson install -C /build --destdir=/install --strip
RUN script/image-root /image /install/dbupgrade-webhook /install/dbupgrade-reconciler

FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="dbupgrade" \
      org.opencontainers.image.description="Kubernetes operator for database migrations" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /image /
USER 65532:65532
