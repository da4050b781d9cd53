#!/usr/bin/env python3
"""Checks the dialogue that README.md shows for each server against the server itself.

Starts each installed server with start.sh on a free port. Three subscribers and a publisher connect; the publisher
sends 10 messages one by one and 8 in one write. Each subscriber must receive each of them once and in order, in exactly
the bytes that README.md shows, and the publisher none. Servers that can share a Redis do all this a second time: two
of them run beside a redis-server, and one of the subscribers is on the publisher's server. Exit code 0 if all installed
servers passed, 1 if not.

    dialogues.py                    all servers
    dialogues.py --verbose bun ws   only these, printing every frame

Needs only Python's standard library, and redis-server for the servers that share one.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 20
SUBSCRIBERS = 3
ONE_BY_ONE = 10
AT_ONCE = 8
NOT_INSTALLED = 69

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
OPCODES = {TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}


class Problem(Exception):
    """The server does not behave as README.md says."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise Problem(message)


@dataclass(frozen=True)
class Frame:
    opcode: int
    data: bytes

    def __str__(self) -> str:
        return f"{OPCODES.get(self.opcode, self.opcode)} {self.data!r}"


def text(data: str) -> Frame:
    return Frame(TEXT, data.encode())


def binary(data: str) -> Frame:
    return Frame(BINARY, data.encode())


class Link:
    """A WebSocket connection without any protocol on top."""

    def __init__(self, name: str, port: int, path: str, verbose: bool) -> None:
        self.name = name
        self.verbose = verbose
        self.buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        while b"\r\n\r\n" not in self.buffer:
            self._read()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self._say("<", head.decode().splitlines()[0])
        check(head.startswith(b"HTTP/1.1 101"), f"{name}: {path} answered {head!r}")
        accept = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        check(base64.b64encode(accept) in head, f"{name}: wrong Sec-WebSocket-Accept")
        check(b"sec-websocket-extensions" not in head.lower(), f"{name}: an extension that was not offered")

    def send(self, *frames: Frame) -> None:
        """Sends frames in one write."""
        packed = b""
        for frame in frames:
            self._say(">", str(frame))
            mask = os.urandom(4)
            size = len(frame.data)
            head = bytes([0x80 | frame.opcode])
            head += bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
            packed += head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(frame.data))
        self.socket.sendall(packed)

    def receive(self) -> Frame:
        """Waits for the next frame."""
        first, second = self._take(2)
        check(first & 0xF0 == 0x80, f"{self.name}: a fragment or a reserved bit: {first:#x}")
        check(second & 0x80 == 0, f"{self.name}: a masked frame")
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        frame = Frame(first & 0x0F, self._take(size))
        self._say("<", str(frame))
        check(frame.opcode != CLOSE, f"{self.name}: closed with {frame.data!r}")
        return frame

    def expect(self, wanted: Frame) -> None:
        got = self.receive()
        check(got == wanted, f"{self.name}: got {got}, not {wanted}")

    def expect_match(self, opcode: int, pattern: str) -> None:
        got = self.receive()
        matches = got.opcode == opcode and re.fullmatch(pattern.encode(), got.data, re.DOTALL)
        check(bool(matches), f"{self.name}: got {got}, not {OPCODES[opcode]} {pattern}")

    def close(self) -> None:
        self.socket.close()

    def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._read()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def _read(self) -> None:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise Problem(f"{self.name}: nothing came within {DEADLINE_S} s, after {self.buffer!r}") from None
        check(data != b"", f"{self.name}: the connection ended after {self.buffer!r}")
        self.buffer += data

    def _say(self, direction: str, what: str) -> None:
        if self.verbose:
            print(f"    {self.name} {direction} {what}")


class Dialogue:
    """One client's side of what README.md says about a server."""

    subscriber_path = "/"
    publisher_path = "/"
    runs_alone = True
    shares_redis = False

    def __init__(self, link: Link) -> None:
        self.link = link
        self.got: deque[str] = deque()

    def subscribe(self) -> None:
        """Subscribes. Returns once every message published from now on will arrive."""

    def introduce(self) -> None:
        """Connects a client that only publishes."""

    def publication(self, payload: str) -> Frame:
        return text(payload)

    def take_answers(self, count: int) -> None:
        """Reads the answers that a publisher receives for `count` messages."""

    def payloads(self, frame: Frame) -> list[str]:
        """Returns the messages in a frame received by a subscriber."""
        check(frame.opcode == TEXT, f"{self.link.name}: {frame}")
        return [frame.data.decode()]

    def next_payload(self) -> str:
        while not self.got:
            self.got.extend(self.payloads(self.link.receive()))
        return self.got.popleft()

    def beat(self) -> None:
        """Makes a round trip. Everything the server has sent before arrives before its answer."""
        self.link.send(text("ping"))
        self.link.expect(text("pong"))


class SocketIo(Dialogue):
    shares_redis = True
    subscriber_path = publisher_path = "/socket.io/?EIO=4&transport=websocket"

    def subscribe(self) -> None:
        self.link.expect_match(
            TEXT,
            r'0\{"sid":"[\w-]{20}","upgrades":\[\],"pingInterval":3600000,"pingTimeout":3600000,"maxPayload":1000000\}',
        )
        self.link.send(text("40"))
        self.link.expect_match(TEXT, r'40\{"sid":"[\w-]{20}"\}')

    def introduce(self) -> None:
        self.subscribe()

    def publication(self, payload: str) -> Frame:
        return text(f'42["announce",{payload}]')

    def payloads(self, frame: Frame) -> list[str]:
        matches = re.fullmatch(rb'42\["announce",(.*)\]', frame.data)
        if frame.opcode != TEXT or matches is None:
            raise Problem(f"{self.link.name}: {frame}")
        return [matches[1].decode()]

    def beat(self) -> None:
        self.link.send(text('420["beat"]'))
        self.link.expect(text("430[]"))


class Nchan(Dialogue):
    subscriber_path = "/sub"
    publisher_path = "/pub"

    def take_answers(self, count: int) -> None:
        for _ in range(count):
            self.link.expect_match(
                TEXT,
                r"queued messages: \d+\r\nlast requested: \d+ sec\. ago\r\n"
                rf"active subscribers: {SUBSCRIBERS}\r\nlast message id: \d+:\d+",
            )

    def beat(self) -> None:
        self.link.send(Frame(PING, b"beat"))
        self.link.expect(Frame(PONG, b"beat"))


class Nats(Dialogue):
    connect = 'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n'

    def subscribe(self) -> None:
        self._connect("SUB announce 1\r\n")

    def introduce(self) -> None:
        self._connect("")

    def _connect(self, then: str) -> None:
        self.link.expect_match(BINARY, r"INFO \{.*\} \r\n")
        self.link.send(binary(self.connect + then + "PING\r\n"))
        self.link.expect(binary("PONG\r\n"))

    def publication(self, payload: str) -> Frame:
        return binary(f"PUB announce {len(payload)}\r\n{payload}\r\n")

    def payloads(self, frame: Frame) -> list[str]:
        check(frame.opcode == BINARY, f"{self.link.name}: {frame}")
        found = []
        line = re.compile(rb"MSG announce 1 (\d+)\r\n|PING\r\n")
        at = 0
        while at < len(frame.data):
            matches = line.match(frame.data, at)
            if matches is None:
                raise Problem(f"{self.link.name}: {frame} at {at}")
            at = matches.end()
            if matches[1] is None:
                # The server pings each client once, two seconds after it has connected.
                self.link.send(binary("PONG\r\n"))
                continue
            end = at + int(matches[1])
            if frame.data[end : end + 2] != b"\r\n":
                raise Problem(f"{self.link.name}: a message does not end with {frame}")
            found.append(frame.data[at:end].decode())
            at = end + 2
        return found

    def beat(self) -> None:
        self.link.send(binary("PING\r\n"))
        frame = self.link.receive()
        if frame == binary("PING\r\n"):
            self.link.send(binary("PONG\r\n"))
            frame = self.link.receive()
        check(frame == binary("PONG\r\n"), f"{self.link.name}: got {frame}")


class Centrifuge(Dialogue):
    shares_redis = True
    subscriber_path = publisher_path = "/connection/websocket"
    connected = r'\{"id":1,"result":\{"client":"[0-9a-f-]{36}","version":""\}\}\n'
    subscribed = r'\{"id":2,"result":\{\}\}\n'
    push = r'\{"result":\{"channel":"announce","data":\{"data":(.*)\}\}\}\n'
    last_id = 2

    def subscribe(self) -> None:
        self.link.send(text('{"id":1,"params":{}}\n{"id":2,"method":1,"params":{"channel":"announce"}}'))
        # One frame, or two if subscribing takes a round trip to Redis.
        got = self._lines(self.link.receive())
        if len(got) == 1:
            got += self._lines(self.link.receive())
        wanted = self.connected + self.subscribed
        check(bool(re.fullmatch(wanted, "".join(got))), f"{self.link.name}: got {got}, not {wanted}")

    def introduce(self) -> None:
        self.link.send(text('{"id":1,"params":{}}'))
        self.link.expect_match(TEXT, self.connected)

    def publication(self, payload: str) -> Frame:
        self.last_id += 1
        command = f'{{"id":{self.last_id},"method":3,"params":{{"channel":"announce","data":{payload}}}}}'
        return text(command)

    def take_answers(self, count: int) -> None:
        wanted = [f'{{"id":{self.last_id - count + 1 + i},"result":{{}}}}\n' for i in range(count)]
        got: list[str] = []
        while len(got) < count:
            got += self._lines(self.link.receive())
        check(got == wanted, f"{self.link.name}: got {got}, not {wanted}")

    def _lines(self, frame: Frame) -> list[str]:
        lines = frame.data.decode().splitlines(keepends=True)
        check(frame.opcode == TEXT and len(lines) <= 4, f"{self.link.name}: {frame}")
        return lines

    def payloads(self, frame: Frame) -> list[str]:
        found = []
        for line in self._lines(frame):
            matches = re.fullmatch(self.push, line)
            if matches is None:
                raise Problem(f"{self.link.name}: {line!r} in {frame}")
            found.append(matches[1])
        return found

    def beat(self) -> None:
        self.last_id += 1
        self.link.send(text(f'{{"id":{self.last_id},"method":7}}'))
        self.link.expect(text(f'{{"id":{self.last_id}}}\n'))


class CentrifugeHistory(Centrifuge):
    runs_alone = False
    subscribed = r'\{"id":2,"result":\{"recoverable":true,"epoch":"\d+"\}\}\n'
    push = r'\{"result":\{"channel":"announce","data":\{"data":(.*),"offset":\d+\}\}\}\n'


DIALOGUES: dict[str, type[Dialogue]] = {
    "bun": Dialogue,
    "ws": Dialogue,
    "socketio": SocketIo,
    "nchan": Nchan,
    "nats": Nats,
    "centrifuge": Centrifuge,
    "centrifuge-history": CentrifugeHistory,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NotInstalled(Exception):
    """The server is not installed. The message says how to install it."""


@dataclass(frozen=True)
class Server:
    port: int
    pid: int


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[Server]:
    """Runs a command and waits until it is listening on a port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            if process.poll() is not None:
                said = process.stderr.read().strip()
                if process.returncode == NOT_INSTALLED:
                    raise NotInstalled(said)
                raise Problem(f"{command[0]} ended with {process.returncode}: {said}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S).close()
                break
            check(time.monotonic() < deadline, f"nothing listens on {port} after {DEADLINE_S} s")
            time.sleep(0.02)
        yield Server(port, process.pid)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stderr.close()


def server(name: str, redis: Server | None = None) -> contextlib.AbstractContextManager[Server]:
    """Runs one of the servers, alone or as one of those that share a Redis."""
    port = free_port()
    command = [str(Path(__file__).parent / "start.sh"), name, str(port)]
    if redis is not None:
        command.append(str(redis.port))
    return running(command, port)


def redis_server() -> contextlib.AbstractContextManager[Server]:
    """Runs a Redis that writes nothing to disk."""
    if shutil.which("redis-server") is None:
        raise NotInstalled("redis-server is not installed")
    port = free_port()
    return running(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""], port)


def check_one_process(pid: int) -> None:
    program = Path(f"/proc/{pid}/exe").resolve().name
    check(program not in ("bash", "sh"), f"start.sh did not become the server but runs {program}")
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children = (thread / "children").read_text().split()
        check(not children, f"{program} has started other processes: {children}")


def walk(name: str, verbose: bool) -> None:
    dialogue = DIALOGUES[name]
    if dialogue.runs_alone:
        with server(name) as alone:
            converse(dialogue, alone, alone, verbose)
    if dialogue.shares_redis:
        with redis_server() as redis, server(name, redis) as near, server(name, redis) as far:
            converse(dialogue, near, far, verbose)


def converse(dialogue: type[Dialogue], near: Server, far: Server, verbose: bool) -> None:
    """Connects the publisher and the first subscriber to one server, and the remaining subscribers to the other."""
    with contextlib.ExitStack() as links:

        def client(title: str, port: int, path: str) -> Dialogue:
            link = Link(title, port, path, verbose)
            links.callback(link.close)
            return dialogue(link)

        publisher = client("publisher", near.port, dialogue.publisher_path)
        publisher.introduce()
        subscribers = []
        for i in range(SUBSCRIBERS):
            port = near.port if i == 0 else far.port
            subscriber = client(f"subscriber {i + 1}", port, dialogue.subscriber_path)
            subscriber.subscribe()
            subscribers.append(subscriber)

        # Publish without waiting: a client that is not subscribed yet would miss the first message.
        payloads = [f'{{"n":{n},"us":2,"pad":"xxx"}}' for n in range(1, ONE_BY_ONE + AT_ONCE + 1)]
        for payload in payloads[:ONE_BY_ONE]:
            publisher.link.send(publisher.publication(payload))
            publisher.take_answers(1)
            for subscriber in subscribers:
                got = subscriber.next_payload()
                check(got == payload, f"{subscriber.link.name}: got {got}, not {payload}")

        publisher.link.send(*map(publisher.publication, payloads[ONE_BY_ONE:]))
        publisher.take_answers(AT_ONCE)
        for subscriber in subscribers:
            for payload in payloads[ONE_BY_ONE:]:
                got = subscriber.next_payload()
                check(got == payload, f"{subscriber.link.name}: got {got}, not {payload}")

        # A duplicate, or a message to the publisher, would arrive before these answers.
        for one in [publisher, *subscribers]:
            check(not one.got, f"{one.link.name}: got more than was sent: {one.got}")
            one.beat()
        check_one_process(near.pid)
        check_one_process(far.pid)


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the dialogues of README.md against the servers themselves.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DIALOGUES))
    parser.add_argument("--verbose", action="store_true", help="print every frame")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in DIALOGUES]
    if unknown:
        parser.error(f"no such server: {', '.join(unknown)}")

    failed = False
    for name in arguments.names or DIALOGUES:
        try:
            walk(name, arguments.verbose)
        except NotInstalled as e:
            print(f"{name}: {e}")
        except (Problem, OSError) as e:
            failed = True
            print(f"{name}: FAILED: {e}")
        else:
            print(f"{name}: as README.md says")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
