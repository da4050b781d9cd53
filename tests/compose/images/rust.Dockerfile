# Stands in for rust:1-bookworm. The build context holds this machine's toolchain (bin, lib) and, instead of a registry,
# the crates of Cargo.lock (cargo).
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/usr/local/cargo
COPY . /usr/local
