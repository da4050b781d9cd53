# Stands in for redis:7, with the same user and folder. Debian 12 has Redis 7.0.
FROM debian:bookworm-slim
RUN groupadd --system --gid 999 redis \
    && useradd --system --gid redis --uid 999 --home-dir /data --no-create-home redis \
    && apt-get update \
    && apt-get install -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* /etc/redis \
    && install -d -o redis -g redis /data
VOLUME /data
WORKDIR /data
EXPOSE 6379
CMD ["redis-server"]
