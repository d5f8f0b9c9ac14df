# One static binary on an empty image. `jotgate init --docker` writes a config for it:
#
#   docker build -t jotgate --build-arg VERSION=0.1.0 .
#   go run . init gate --docker
#   docker run --rm -v "$PWD/gate:/etc/jotgate:ro" --add-host host.docker.internal:host-gateway -p 8080:8080 jotgate
#
# The config is /etc/jotgate/config.yaml. User 65532 must be able to read what it names: `init --docker` run by root makes
# that user the owner of the keys, run by another user it prints the --user to add. Where the config says `create: true`
# for a key, mount without :ro.

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
ARG REVISION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags="-s -w -X main.version=${VERSION} -X main.revision=${REVISION}" -o /out/jotgate . \
    && mkdir -p /out/etc/jotgate

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/etc/jotgate /etc/jotgate
COPY --from=build /out/jotgate /jotgate
USER 65532:65532
ENV JOTGATE_CONFIG=/etc/jotgate/config.yaml
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/jotgate", "healthcheck"]
ENTRYPOINT ["/jotgate"]
