# For who has a container engine: the program is compiled here, for the machine's own platform.
#   docker build -t depthgauge:0.1.0 .
# hack/image makes the released image: both platforms, reproducible, without an engine.
FROM docker.io/library/rust:1.95.0-alpine AS build
RUN apk add --no-cache build-base ca-certificates
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY emulator emulator
COPY apiservice apiservice
COPY benches benches
RUN cargo build --profile dist --locked --bin depthgauge && mkdir -m 1777 /empty

FROM scratch
COPY --from=build /source/target/dist/depthgauge /depthgauge
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /empty /tmp
USER 65532:65532
ENTRYPOINT ["/depthgauge"]
CMD ["serve"]
