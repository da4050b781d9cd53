"""The processes of the run: Redis, nodes, the balancer and Prometheus, with the files of deploy/."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NODES = ["node-1", "node-2", "node-3"]
SCRAPE_S = 1
# How long a condition has to hold before its alert fires, and the window of every rate and increase of a rule.
HOLDS, WINDOW = "5s", "20s"
WAIT_S = 30

SECRET = "correct-horse-battery-staple-0123456789"
CONFIGURATION = f"""
[[keys]]
id = "bot"
type = "bot"
secret = "{SECRET}"

[[keys]]
id = "website"
type = "website"
secret = "{SECRET}"

[[keys]]
id = "backend"
type = "service"
permissions = ["publish", "read", "tickets"]
secret = "{SECRET}"

[[events]]
name = "announce"
from = ["website", "service"]
to = ["bot", "website", "discord"]

[[events]]
name = "settings_changed"
from = ["website", "service"]
to = ["bot", "website"]
deliver = {{ guild = "/guildId" }}

[[events]]
name = "get_settings"
from = ["website", "service"]
to = ["bot"]
deliver = {{ guild = "/guildId" }}
reply = true
reply_timeout_ms = 1000

[[events]]
name = "render"
from = ["website", "service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 2000
attempts = 3

[[events]]
name = "refund"
from = ["service"]
to = ["bot"]
deliver = "any"
ack_timeout_ms = 200
attempts = 1

[[events]]
name = "export"
from = ["service"]
to = ["service"]
"""
SETTINGS = {
    "SERVER__TRUSTED_PROXIES": "127.0.0.0/8",
    "LIMITS__CONNECTIONS": "100",
    "LIMITS__OUTBOX_BYTES": "4000000",
    "CLUSTER__LEASE_MS": "3000",
    # About half a minute of this load.
    "CLUSTER__LOG_ENTRIES": "5000",
    "CLUSTER__HOLD_MS": "2000",
    "DRAIN__SPREAD_MS": "3000",
    "LOG__LEVEL": "warn",
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def get(url: str, seconds: float = 10) -> bytes:
    return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=seconds).read())


async def until(what: str, look) -> None:
    """Waits until `look` returns something true."""
    for _ in range(WAIT_S * 10):
        if await look():
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"{what}: not within {WAIT_S} s")


class Processes:
    """Starts processes, and ends those that are left."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self.folder = folder
        self.gateway = gateway
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.ports = {name: free_port() for name in ("redis", "clients", "balancer", "prometheus")}
        for node in NODES:
            self.ports[node] = free_port()
            self.ports[f"{node} admin"] = free_port()
        (folder / "gateway.toml").write_text(CONFIGURATION)

    async def start(self, name: str, *command: str, **environment: str) -> None:
        log = open(self.folder / f"{name}.log", "ab")
        self.running[name] = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env={**os.environ, **environment}, stdout=log, stderr=log
        )

    async def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        process.send_signal(how)
        await asyncio.wait_for(process.wait(), WAIT_S)

    async def end_all(self) -> None:
        for name in list(self.running):
            await self.end(name, signal.SIGKILL)

    async def redis(self) -> None:
        options = ("--bind", "127.0.0.1", "--port", str(self.ports["redis"]), "--appendonly", "yes", "--save", "")
        await self.start("redis", os.environ["UTILBOT_TEST_REDIS"], *options)

    async def node(self, name: str) -> None:
        settings = {
            **SETTINGS,
            "SERVER__BIND": f"127.0.0.1:{self.ports[name]}",
            "ADMIN__BIND": f"127.0.0.1:{self.ports[f'{name} admin']}",
            "NODE__NAME": name,
            "REDIS__URL": f"redis://127.0.0.1:{self.ports['redis']}/",
        }
        environment = {f"UTILBOT__{key}": value for key, value in settings.items()}
        await self.start(name, self.gateway, "serve", "--config", "gateway.toml", **environment)

    async def is_ready(self, name: str) -> bool:
        process = self.running[name]
        if process.returncode is not None:
            raise SystemExit(f"{name} has ended:\n{(self.folder / f'{name}.log').read_text()[-2000:]}")
        try:
            return bool(await get(f"http://127.0.0.1:{self.ports[name]}/readyz"))
        except OSError:
            return False

    async def balancer(self) -> None:
        """Starts HAProxy with deploy/haproxy.cfg, in which only the addresses are changed."""
        text = (DEPLOY / "haproxy.cfg").read_text()
        changes = {f" {node}:8080": f" 127.0.0.1:{self.ports[node]}" for node in NODES}
        changes["bind :8080"] = f"bind 127.0.0.1:{self.ports['clients']}"
        changes["bind :8405"] = f"bind 127.0.0.1:{self.ports['balancer']}"
        for theirs, ours in changes.items():
            if text.count(theirs) != 1:
                raise SystemExit(f"deploy/haproxy.cfg has {text.count(theirs)} times {theirs!r}")
            text = text.replace(theirs, ours)
        (self.folder / "haproxy.cfg").write_text(text)
        haproxy = os.environ["UTILBOT_TEST_HAPROXY"]
        await self.start("balancer", haproxy, "-db", "-f", "haproxy.cfg", UTILBOT_NETWORK="127.0.0.0/8")

    async def prometheus(self) -> None:
        """Starts Prometheus with deploy/prometheus.yml and deploy/alerts.yml, with other addresses and shorter times.
        The targets keep the names that they have in the file."""
        relabel = ["    relabel_configs:", "      - { source_labels: [__address__], target_label: instance }"]
        for name in (*NODES, "balancer"):
            theirs = "balancer:8405" if name == "balancer" else f"{name}:9090"
            port = self.ports["balancer" if name == "balancer" else f"{name} admin"]
            relabel.append(
                f"      - {{ source_labels: [__address__], regex: '{theirs}', target_label: __address__, "
                f"replacement: '127.0.0.1:{port}' }}"
            )
        text = (DEPLOY / "prometheus.yml").read_text()
        text = re.sub(r"scrape_interval: \w+", f"scrape_interval: {SCRAPE_S}s\n  evaluation_interval: 1s", text)
        text = re.sub(r"( +- job_name: \w+\n)", lambda job: job[1] + "\n".join(relabel) + "\n", text)
        (self.folder / "prometheus.yml").write_text(text)
        rules = (DEPLOY / "alerts.yml").read_text()
        rules = re.sub(r"\bfor: \w+", f"for: {HOLDS}", rules)
        (self.folder / "alerts.yml").write_text(re.sub(r"\[\d+m\]", f"[{WINDOW}]", rules))
        await self.start(
            "prometheus",
            os.environ["UTILBOT_TEST_PROMETHEUS"],
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=prometheus",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        )

    async def ask(self, resource: str, **parameters: object) -> dict:
        """Requests a resource of Prometheus' API."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{resource}?{urlencode(parameters)}"
        try:
            return json.loads(await get(url))["data"]
        except urllib.error.HTTPError as refusal:
            # While it starts.
            if refusal.code == 503:
                raise
            raise SystemExit(f"{url}: {refusal.read().decode()}") from None

    async def start_all(self) -> None:
        await self.redis()
        for node in NODES:
            await self.node(node)
        for node in NODES:
            await until(f"{node} is ready", lambda node=node: self.is_ready(node))
        await self.balancer()
        await self.prometheus()

        async def scraped() -> bool:
            try:
                return len((await self.ask("query", query="up == 1"))["result"]) == len(NODES) + 1
            except OSError:
                return False

        await until("Prometheus scrapes every target", scraped)
