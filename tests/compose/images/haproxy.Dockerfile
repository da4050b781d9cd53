# Stands in for haproxy:3.0: user, folder, signal and command as there. Debian 13 has HAProxy 3.0.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/* /etc/haproxy \
    && install -d /usr/local/etc/haproxy
USER haproxy
WORKDIR /var/lib/haproxy
STOPSIGNAL SIGUSR1
# There an entrypoint adds -W -db to the same command.
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
