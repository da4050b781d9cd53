#!/usr/bin/env python3
"""Starts docker-compose.yml, and tests with its own clients that it works as a cluster. run.sh prepares the engine.

    cluster.py --compose docker-compose

Prints a line PASS or FAIL for each check, and the counts in the last line. The exit code is 1 if any check failed.
Checks that depend on a failed one are not run.

That a client does not receive an event twice is shown without waiting: all clients receive events in the same order, so
one that has received a later event has received everything before it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable

from clients import PORT, Cluster
from engine import ROOT, Engine
from failure import WAIT_S, Failed, check, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

NODES = ["node-1", "node-2", "node-3"]
# The port of a container that runs alone.
LONE_PORT = 18081
# The most that the image may take beside its base.
IMAGE_MB = 60
CLIENTS = 12


# ---- checks ----------------------------------------------------------------------------------------------------


async def files_are_valid(engine: Engine) -> str:
    await engine.compose("config", "--quiet")
    look = "haproxy -c -f /usr/local/etc/haproxy/haproxy.cfg 2>&1"
    said = await engine.compose("run", "--rm", "--no-deps", "-T", "balancer", "sh", "-c", look)
    check("[WARNING]" not in said and "[ALERT]" not in said, said)
    return "docker-compose and HAProxy accept their files"


async def up_starts_services_in_order(engine: Engine) -> str:
    start = time.time()
    await engine.compose("up", "--build", "--detach", seconds=1800)
    await engine.healthy("redis", *NODES, "balancer")
    lines = await engine.docker(
        *("events", "--since", f"{start:.3f}", "--until", f"{time.time():.3f}"),
        *("--format", '{{.TimeNano}} {{.Actor.Attributes.name}} {{.Action}}'),
    )
    first: dict[tuple[str, str], int] = {}
    for line in lines.splitlines():
        at, container, action = line.split(" ", 2)
        service = next((name for name in ("setup", "redis", *NODES, "balancer") if name in container), container)
        first.setdefault((service, action), int(at))
    for needed, state, user in [
        *(("setup", "die", node) for node in NODES),
        *(("redis", "health_status: healthy", node) for node in NODES),
        *((node, "health_status: healthy", "balancer") for node in NODES),
    ]:
        check(
            first[needed, state] < first[user, "start"],
            f"{user} was started before {needed} had its '{state}'",
        )
    return "up starts every service after its dependencies are healthy"


async def only_the_balancer_is_published(engine: Engine) -> str:
    ports = await engine.docker("ps", "--format", "{{.Names}} {{.Ports}}")
    published = [line for line in ports.splitlines() if "->" in line]
    expected = f"127.0.0.1:{PORT}->8080/tcp"
    check(len(published) == 1 and "balancer" in published[0] and published[0].endswith(expected), ports)
    return f"only the balancer has a port here: {expected}"


async def the_image_is_small(engine: Engine) -> str:
    async def size(image: str) -> int:
        return json.loads(await engine.docker("image", "inspect", image))[0]["Size"]

    own = (await size("utilbot-gateway") - await size("debian:bookworm-slim")) / 1e6
    check(own <= IMAGE_MB, f"the image has {own:.1f} MB beside its base")
    facts = json.loads(await engine.docker("image", "inspect", "utilbot-gateway"))[0]["Config"]
    check(facts["User"] == "utilbot", f"the image runs as {facts['User']!r}")
    labels = facts["Labels"]
    check(labels.get("org.opencontainers.image.title") == "Utilbot Gateway", f"labels: {labels}")
    return f"the image has {own:.1f} MB beside its base, runs as {facts['User']}, and has labels"


async def one_container_needs_no_configuration(engine: Engine) -> str:
    """Starts a container in development mode, and receives an event. It shares the network of this machine, because the
    engine has no bridge."""
    start = time.monotonic()
    bind = f"0.0.0.0:{LONE_PORT}"
    flags = ("--detach", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "host")
    container = (await engine.docker("run", *flags, "utilbot-gateway", "--development", "--bind", bind)).strip()
    try:
        banner: dict = {}

        async def listens() -> None:
            while not banner:
                for line in (await engine.docker("logs", container)).splitlines():
                    if line.startswith("{"):
                        banner.update(json.loads(line))

        await asyncio.wait_for(listens(), WAIT_S)
        key = banner["development_key"]
        async with connect(f"ws://127.0.0.1:{LONE_PORT}/?v=1", proxy=None) as socket:
            await socket.send(json.dumps({"op": 1, "t": "identify", "d": {"type": "bot", "key": key}}))
            while json.loads(await socket.recv()).get("t") != "bot_connect_success":
                pass
            await asyncio.to_thread(publish_alone, key)
            while json.loads(await socket.recv()).get("t") != "announce":
                pass
        took = time.monotonic() - start
    finally:
        await engine.docker("kill", container)
    return f"a read-only container with --development: {took:.1f} s from `docker run` to the first event received"


def publish_alone(key: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{LONE_PORT}/api/v1/events",
        data=b'{"t":"announce","d":{}}',
        headers={"Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        check(answer.status == 202, f"HTTP {answer.status}")


async def clients_connect_to_every_node(cluster: Cluster) -> str:
    await cluster.join(CLIENTS)
    check(all(cluster.on(node) for node in NODES), f"clients are {cluster.spread()}")
    await cluster.totals_are_right()
    return f"{CLIENTS} clients connect to every node ({cluster.spread()}), and the totals count each of them"


async def events_reach_every_node(cluster: Cluster) -> str:
    over_http = await cluster.publish()
    sender = cluster.on(NODES[0])[0]
    from_a_client = cluster.name()
    await sender.send("announce", {"n": from_a_client})
    # Events of two senders have no fixed order, so the marker must not be sent before the clients have this event.
    others = [client for client in cluster.clients if client is not sender]
    everywhere = f"{from_a_client} at every other client"
    await until(lambda: all(client.received[from_a_client] for client in others), everywhere)
    await cluster.every_client_receives(over_http)
    await cluster.every_client_receives(from_a_client, except_for=sender)
    orders = {tuple(name for name in client.order if name != from_a_client) for client in cluster.clients}
    check(len(orders) == 1, f"clients received different orders: {orders}")
    return "an event over HTTP and one from a client reach every client on every node once, in one order"


async def clients_of_a_killed_node_reconnect_to_the_others(cluster: Cluster) -> str:
    victim = "node-2"
    moving = cluster.on(victim)
    staying = [client for client in cluster.clients if client not in moving]
    before = {client.name: len(client.endings) for client in cluster.clients}
    start = time.monotonic()
    await cluster.engine.docker("kill", await cluster.engine.container(victim))
    await until(
        lambda: all(len(client.endings) > before[client.name] and client.node for client in moving),
        f"the clients of {victim} are back",
    )
    took = time.monotonic() - start
    check(not cluster.on(victim), f"clients are {cluster.spread()}")
    await cluster.every_client_receives(await cluster.publish())
    await cluster.totals_are_right()
    cut = [client.name for client in staying if len(client.endings) > before[client.name]]
    check(not cut, f"clients of other nodes were cut too: {cut}")
    return f"{victim} killed: its {len(moving)} clients reconnect within {took:.1f} s and receive later events"


async def a_killed_node_comes_back(cluster: Cluster) -> str:
    await cluster.engine.compose("up", "--detach")
    await cluster.engine.healthy(*NODES)
    new = await cluster.join(CLIENTS // 2)
    returned = [client for client in new if client.node == "node-2"]
    check(returned, f"no new client is on node-2: {cluster.spread()}")
    await cluster.every_client_receives(await cluster.publish())
    await cluster.totals_are_right()
    return f"up restarts node-2: {len(returned)} of {len(new)} new clients connect there and receive events"


async def a_stopped_node_drains_its_clients(cluster: Cluster) -> str:
    leaving = "node-3"
    moving = cluster.on(leaving)
    before = {client.name: len(client.endings) for client in cluster.clients}
    start = time.monotonic()
    await cluster.engine.compose("stop", leaving)
    took = time.monotonic() - start
    state = (await cluster.engine.inspect(leaving))["State"]
    check(state["ExitCode"] == 0, f"{leaving} ended with {state}")
    await until(lambda: all(client.node for client in cluster.clients), "every client is connected again")
    for client in moving:
        endings = client.endings[before[client.name] :]
        check(len(endings) == 1, f"{client.name} was cut more than once: {endings}")
        error, code = endings[0].error or {}, endings[0].code
        check(error.get("e") == 1000 and code == 1012, f"{client.name} got {error} and close code {code}")
    staying = [client for client in cluster.clients if client not in moving]
    cut = [client.name for client in staying if len(client.endings) > before[client.name]]
    check(not cut, f"clients of other nodes were cut too: {cut}")
    await cluster.every_client_receives(await cluster.publish())
    await cluster.totals_are_right()
    await cluster.engine.compose("start", leaving)
    await cluster.engine.healthy(leaving)
    return f"{leaving} stopped in {took:.1f} s: its {len(moving)} clients got error 1000, then close 1012, and moved"


async def a_node_that_dies_is_restarted(cluster: Cluster) -> str:
    state = (await cluster.engine.inspect("node-1"))["State"]
    os.kill(state["Pid"], 9)
    started = state["StartedAt"]
    deadline = time.monotonic() + WAIT_S
    while (await cluster.engine.inspect("node-1"))["State"]["StartedAt"] == started:
        check(time.monotonic() < deadline, "node-1 was not started again")
        await asyncio.sleep(0.2)
    await cluster.engine.healthy(*NODES)
    await until(lambda: all(client.node for client in cluster.clients), "every client is connected again")
    await cluster.every_client_receives(await cluster.publish())
    await cluster.totals_are_right()
    return "a node whose process dies is restarted"


async def redis_can_be_restarted(cluster: Cluster) -> str:
    before = {client.name: len(client.endings) for client in cluster.clients}
    await cluster.engine.compose("restart", "redis")
    await cluster.every_client_receives(await cluster.publish())
    cut = [client.name for client in cluster.clients if len(client.endings) > before[client.name]]
    check(not cut, f"clients were cut: {cut}")
    await cluster.engine.healthy("redis", *NODES)
    await cluster.totals_are_right()
    return "Redis restarted: no client is cut, and events continue"


async def a_proxy_in_front_is_trusted(cluster: Cluster) -> str:
    """A node logs the client address from a proxy in front of the balancer."""
    headers = {"x-forwarded-for": "192.0.2.77"}
    async with connect(f"ws://127.0.0.1:{PORT}/?v=1", proxy=None, additional_headers=headers) as socket:
        await socket.send(json.dumps({"op": 1, "t": "identify", "d": {"type": "bot", "key": "no.such-key"}}))
        try:
            async for _ in socket:
                pass
        except ConnectionClosed:
            pass
        check(socket.close_code == 4001, f"a wrong key was closed with {socket.close_code}")
    log = await cluster.engine.compose("logs", "--no-color", *NODES)
    check("192.0.2.77" in log, "no node has logged 192.0.2.77")
    return "nodes use the client address from a proxy in front of the balancer"


async def the_tools_work(cluster: Cluster) -> str:
    said = await cluster.engine.compose("run", "--rm", "-T", "publish", "announce", '{"n":"by the tool"}')
    check(json.loads(said.splitlines()[-1])["offset"] > 0, said)
    await cluster.every_client_receives("by the tool")
    return "`docker-compose run --rm publish` publishes with the key from the first start"


async def prometheus_scrapes_the_cluster(cluster: Cluster) -> str:
    engine = cluster.engine
    await engine.compose("--profile", "monitoring", "up", "--detach", "prometheus")

    async def query(expression: str) -> list[str]:
        container = await engine.container("prometheus")
        command = ("exec", container, "promtool", "query", "instant", "http://127.0.0.1:9090", expression)
        return (await engine.docker(*command)).splitlines()

    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            up = [line for line in await query("up == 1") if line]
            if len(up) == len(NODES) + 1:
                break
        except Failed as failed:
            up = [str(failed)]
        check(time.monotonic() < deadline, f"some targets are not up: {up}")
        await asyncio.sleep(1)
    total = (await query("sum(utilbot_sessions)"))[0]
    check(f"=> {len(cluster.clients)} @" in total, f"{len(cluster.clients)} clients, but the total is {total}")
    dashboard = json.loads((ROOT / "deploy/grafana/gateway.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for expression in queries:
        await query(expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))
    return f"Prometheus scrapes every node and the balancer, and answers the {len(queries)} queries of the dashboard"


async def the_key_is_in_no_log(cluster: Cluster) -> str:
    log = await cluster.engine.compose("logs", "--no-color")
    secret = cluster.key.split(".")[1]
    check(re.search("node-1.*listening", log) and secret not in log, "the key is in a log")
    return "the key is in no log"


# ---- main ------------------------------------------------------------------------------------------------------


class Report:
    """Prints the results of checks, and counts them."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    async def show(self, checks: Iterable[Callable], subject: object) -> bool:
        for one in checks:
            try:
                print(f"PASS {await one(subject)}", flush=True)
                self.passed += 1
            except (Failed, OSError, KeyError, ValueError, ConnectionClosed) as problem:
                print(f"FAIL {one.__name__}: {problem or type(problem).__name__}", flush=True)
                self.failed += 1
                return False
        return True


async def run(engine: Engine) -> Report:
    report = Report()
    if not await report.show([files_are_valid, up_starts_services_in_order, only_the_balancer_is_published], engine):
        return report
    if not await report.show([the_image_is_small, one_container_needs_no_configuration], engine):
        return report
    key = (await engine.compose("run", "--rm", "-T", "key")).strip()
    cluster = Cluster(engine, key)
    await report.show(
        [
            clients_connect_to_every_node,
            events_reach_every_node,
            clients_of_a_killed_node_reconnect_to_the_others,
            a_killed_node_comes_back,
            a_stopped_node_drains_its_clients,
            a_node_that_dies_is_restarted,
            redis_can_be_restarted,
            a_proxy_in_front_is_trusted,
            the_tools_work,
            prometheus_scrapes_the_cluster,
            the_key_is_in_no_log,
        ],
        cluster,
    )
    if report.failed:
        for line in (await engine.compose("logs", "--no-color", "--tail", "15")).splitlines():
            print(f"  {line}")
    await asyncio.gather(*(client.stop() for client in cluster.clients))
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compose", required=True, help="docker-compose, or 'docker compose'")
    options = parser.parse_args()
    report = asyncio.run(run(Engine(options.compose)))
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
