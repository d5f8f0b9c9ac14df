# One static binary on an empty image.
#
#   docker build -t jotgate --build-arg VERSION=0.1.0 .
#   docker run -v "$PWD/gate:/etc/jotgate" -p 8080:8080 jotgate
#
# The config is /etc/jotgate/config.yaml. Where it says `create: true` for a key, user 65532 must be able to write beside it.

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=${VERSION}" -o /out/jotgate . \
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
