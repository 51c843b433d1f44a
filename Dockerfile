# The image of credproxy: one static binary, the roots that public certificates
# chain to, and the name of the user it runs as. No shell, nothing to write to.
# The certificates of RDS are in the binary. integration/deploy tests the last stage.
#
#   docker build \
#     --build-arg VERSION=v1.2.3 --build-arg REVISION=$(git rev-parse HEAD) -t credproxy .
#   docker run --read-only --cap-drop ALL -v ./credproxy.yaml:/etc/credproxy/credproxy.yaml:ro credproxy
ARG GO_VERSION=1.26

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG REVISION=
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$REVISION" -o /out/credproxy ./cmd/credproxy

FROM scratch
ARG VERSION=dev
ARG REVISION=
LABEL org.opencontainers.image.title="credproxy" \
      org.opencontainers.image.description="Passwordless local connections to Amazon RDS and Aurora" \
      org.opencontainers.image.source="https://github.com/credproxy/credproxy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/credproxy /usr/bin/credproxy
COPY deploy/image/passwd /etc/passwd
COPY LICENSE /usr/share/doc/credproxy/LICENSE
USER 65532:65532
# Asks 127.0.0.1:9090; if the configuration says another admin.listen, set
# CREDPROXY_ADMIN_LISTEN instead, which run and healthcheck both go by.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/bin/credproxy", "healthcheck"]
ENTRYPOINT ["/usr/bin/credproxy"]
CMD ["run", "-c", "/etc/credproxy/credproxy.yaml"]
