# Stands in for haproxy:3.0, with the same user, folder, signal and command. Debian 13 has HAProxy 3.0.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/* /etc/haproxy \
    && install -d /usr/local/etc/haproxy
USER haproxy
WORKDIR /var/lib/haproxy
STOPSIGNAL SIGUSR1
# In haproxy:3.0 an entrypoint adds -W -db to this command.
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
