# syntax=docker/dockerfile:1

# Alpine's toolchain links statically, so the binary needs no libraries.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache ca-certificates musl-dev
WORKDIR /source
COPY . .
# The build has no Git history to read the revision from.
ARG REVISION=unknown
RUN BUILD_REVISION="$REVISION" cargo build --profile dist --locked

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sonorancad-exporter" \
      org.opencontainers.image.description="Prometheus exporter for Sonoran CAD" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/LICENSE /LICENSE
COPY --from=build /source/target/dist/sonorancad-exporter /sonorancad-exporter
USER 65534:65534
EXPOSE 10911
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/sonorancad-exporter", "healthcheck"]
ENTRYPOINT ["/sonorancad-exporter"]
