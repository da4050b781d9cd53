#!/usr/bin/env python3
"""Draws the pictures of README.md: terminal.svg, from what the binary prints, and design.svg.

    cargo build --release && docs/pictures/draw.py [BINARY]

BINARY is target/release/gateway-node by default. It listens on 127.0.0.1:8080 for a few seconds, so this port must be
free. The key that it prints is replaced. Needs Python 3.9 or later on Linux or macOS, and no packages.
"""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parent
BINARY = FOLDER.parents[1] / "target/release/gateway-node"
KEY = re.compile(r"development\.[\w-]+")
DEADLINE_S = 10

# ---- the terminal ----------------------------------------------------------------------------------------------

COLUMNS, CELL, LINE, MARGIN = 108, 7.25, 18, 18
COLOURS = {"2": "#7d8590", "31": "#ff7b72", "32": "#7ee787", "36": "#79c0ff"}
NO_BREAK = "\u00a0"  # SVG would join several spaces.
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")


class Terminal:
    """A command that runs on a pseudo-terminal, and all that it has printed."""

    def __init__(self, command, key=""):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "UTILBOT_KEY": key}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
        )
        os.close(slave)
        self.printed = ""

    def wait_for(self, pattern):
        """Reads until `pattern` matches, and returns the match."""
        end = time.monotonic() + DEADLINE_S
        while True:
            match = re.search(pattern, self.printed)
            if match:
                return match
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            try:
                received = os.read(self.master, 65536) if ready else b""
            except OSError:
                received = b""
            if not received:
                sys.exit(f"{self.process.args} does not print {pattern!r}, but:\n{self.printed}")
            self.printed += received.decode()

    def end(self):
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        os.close(self.master)

    def lines(self):
        return KEY.sub("development.…", self.printed).replace("\r", "").rstrip().split("\n")


@contextmanager
def running(command, key=""):
    terminal = Terminal(command, key)
    try:
        yield terminal
    finally:
        terminal.end()


def record(binary):
    """Runs a node, a client and a publisher. Returns the prompt and the lines of each."""
    event = ["announce", '{"text":"hello"}']
    with running([binary]) as node:
        key = KEY.search(node.wait_for(r"(?s)key .*connect --url \S+\s").group(0)).group(0)
        with running([binary, "connect", "--servers", "5"], key) as client:
            client.wait_for(r'GLOBAL_GUILD_COUNT \{"guilds":5.*\n')
            with running([binary, "publish", *event], key) as publisher:
                publisher.wait_for(r'"offset".*\n')
            client.wait_for(r"event announce .*\n")
    run, with_key = "cargo run --release", "UTILBOT_KEY=development.…"
    return [
        (run, node.lines()),
        (f"{with_key} {run} -- connect --servers 5", client.lines()),
        (f"{with_key} {run} -- publish {event[0]} '{event[1]}'", publisher.lines()),
    ]


def text(x, y, words, fill):
    """One run of characters, as wide as its cells whatever the reader's font is."""
    width = f'textLength="{len(words) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y}" fill="{fill}" {width}>{escape(words).replace(" ", NO_BREAK)}</text>'


def terminal_svg(panes):
    body, y = [], 12
    width = COLUMNS * CELL + 2 * MARGIN
    for prompt, lines in panes:
        height = (len(lines) + 1) * LINE + 2 * 14
        body.append(f'<rect x="6" y="{y}" width="{width - 12:.0f}" height="{height}" rx="8" fill="#0d1117"/>')
        y += 14 + LINE - 5
        body.append(text(MARGIN, y, "$", "#7ee787"))
        body.append(text(MARGIN + 2 * CELL, y, prompt, "#ffffff"))
        for line in lines:
            y += LINE
            x, fill = MARGIN, "#d1d7e0"
            for index, part in enumerate(ESCAPE.split(line)):
                if index % 2:
                    fill = COLOURS.get(part, "#d1d7e0")
                elif part:
                    if part.strip():
                        indent = len(part) - len(part.lstrip())
                        body.append(text(x + indent * CELL, y, part.strip(), fill))
                    x += len(part) * CELL
        y += 5 + 14 + 10
    label = "A gateway, a client that connects to it, and a command that publishes an event, which the client receives"
    font = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
    return svg(width, y + 2, label, f'font-family="{font}" font-size="12"', "#30363d", body)


# ---- the design ------------------------------------------------------------------------------------------------

INK, GREY, BLUE, GREEN = "#1f2328", "#59636e", "#0969da", "#1a7f37"


def words(x, y, string, size=13, fill=INK, anchor="middle", weight="normal"):
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(string)}</text>"
    )


def box(x, y, width, height, title, *lines, fill="#ffffff", stroke="#818b98", dash=""):
    dash = f' stroke-dasharray="{dash}"' if dash else ""
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{stroke}"{dash}/>',
        words(x + width / 2, y + 22, title, 14, weight="bold"),
    ]
    parts += [words(x + width / 2, y + 41 + 17 * n, line, 12, GREY) for n, line in enumerate(lines)]
    return parts


def arrow(points, colour=GREY, both=False, dash=""):
    path = "M" + " L".join(f"{x},{y}" for x, y in points)
    start = f' marker-start="url(#{colour[1:]})"' if both else ""
    dash = f' stroke-dasharray="{dash}"' if dash else ""
    end = f'marker-end="url(#{colour[1:]})"'
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" {end}{start}{dash}/>'


def design_svg():
    body = ["<defs>"]
    for colour in (GREY, BLUE, GREEN):
        body.append(
            f'<marker id="{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            f'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{colour}"/></marker>'
        )
    body.append("</defs>")
    body += box(16, 64, 148, 78, "v1 clients", "bots, website,", "services")
    body += box(16, 158, 148, 78, "Discord bots", "discord.js, discord.py", "v6 to v10")
    body += box(16, 300, 148, 78, "publishers", "HTTP API")
    # The node.
    body += box(204, 16, 580, 378, "", fill="#f6f8fa")
    body.append(words(218, 38, "node", 14, anchor="start", weight="bold"))
    body += box(220, 50, 368, 216, "", fill="#eef4fb", stroke="#54aeff", dash="5 4")
    body.append(words(234, 71, "each worker thread", 12, GREY, "start"))
    body += box(234, 82, 152, 112, "transport", "handshake, frames,", "decoder, outbox", "bounded in bytes, age")
    body += box(422, 82, 152, 112, "session actor", "heartbeat timer,", "state machine of v1", "or of Discord")
    body += box(234, 212, 340, 44, "registry shard: who is connected")
    body += box(634, 50, 134, 330, "backplane", "one log for each", "application,", "members, reports,", "resumable sessions")
    body += box(234, 300, 152, 78, "HTTP API", "events, guilds,", "sessions, metrics")
    body += box(422, 300, 152, 78, "drain", "every session moves,", "one by one")
    # Outside.
    body += box(824, 64, 150, 78, "Redis", "or the node's own", "memory")
    body += box(824, 202, 150, 78, "other nodes", "on the same Redis")
    # Who talks to whom.
    body.append(arrow([(164, 103), (232, 120)], both=True))
    body.append(arrow([(164, 190), (232, 160)], both=True))
    body.append(arrow([(164, 339), (232, 339)]))
    body.append(arrow([(386, 138), (420, 138)], both=True))
    body.append(arrow([(574, 120), (632, 120)], BLUE))
    body.append(words(611, 112, "append", 11, BLUE))
    body.append(arrow([(386, 320), (404, 320), (404, 286), (632, 286)], BLUE))
    body.append(words(611, 279, "append", 11, BLUE))
    body.append(arrow([(634, 240), (576, 240)], GREEN))
    body.append(words(611, 232, "in order", 11, GREEN))
    body.append(arrow([(300, 212), (300, 196)], GREEN))
    body.append(words(308, 208, "encoded once for all", 11, GREEN, "start"))
    body.append(arrow([(498, 300), (498, 258)], dash="4 3"))
    body.append(words(504, 276, "leave", 11, GREY, "start"))
    body.append(arrow([(768, 103), (822, 103)], both=True))
    body.append(arrow([(899, 202), (899, 144)], both=True))
    label = (
        "Clients connect to a transport, behind which a session actor runs their protocol. Sessions and the HTTP API "
        "append events to the backplane's log, in Redis or in memory. Registry shards receive the log in order, and "
        "hand each event, encoded once, to the transports of its receivers. A drain asks every session to leave."
    )
    font = "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\""
    return svg(990, 410, label, font, "#ffffff", body)


def svg(width, height, label, attributes, background, body):
    fill = f'<rect width="100%" height="100%" rx="10" fill="{background}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" {attributes}>\n<title>{escape(label)}</title>\n'
        + "\n".join([fill, *body])
        + "\n</svg>\n"
    )


def main():
    binary = str(Path(sys.argv[1] if len(sys.argv) > 1 else BINARY).resolve())
    (FOLDER / "terminal.svg").write_text(terminal_svg(record(binary)))
    (FOLDER / "design.svg").write_text(design_svg())


main()
