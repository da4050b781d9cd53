#!/usr/bin/env python3
"""Decodes streams of compressed messages with Python's decoders, the way that bot libraries use them.

    streams.py --method zlib-stream streams.bin

The file is a sequence of messages. Each is the number of its session, the length and the bytes of the compressed
message, and the length and the bytes of the plaintext. Numbers are 32 bits, little-endian. Methods are zlib-packet,
zlib-stream and zstd-stream. Every message must decode completely before any byte of the next one is read. Prints one
JSON line for each decoder that has decoded all messages, and `ok` at the end. On a failure, prints one line on standard
error and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

try:
    from compression import zstd  # Python 3.14 and later
except ImportError:
    from backports import zstd

Decode = Callable[[bytes], bytes]


class Failed(Exception):
    """A message could not be decoded, or decoded to something else."""


def zlib_packet() -> Decode:
    """Decodes each message as a zlib stream of its own."""

    def decode(sent: bytes) -> bytes:
        stream = zlib.decompressobj()
        said = stream.decompress(sent)
        if not stream.eof or stream.unused_data:
            raise Failed("a packet is not one complete zlib stream")
        return said

    return decode


def zlib_stream() -> Decode:
    """Like discord.py: feeds every message, which ends with a flush, to one decompressor."""
    stream = zlib.decompressobj()

    def decode(sent: bytes) -> bytes:
        if not sent.endswith(b"\x00\x00\xff\xff"):
            raise Failed("a message does not end with a flush")
        return stream.decompress(sent)

    return decode


DECODERS: dict[str, dict[str, Callable[[], Decode]]] = {
    "zlib-packet": {"zlib": zlib_packet},
    "zlib-stream": {"zlib": zlib_stream},
    "zstd-stream": {
        # discord.py, with Python before 3.14
        "zstandard": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
        # hikari, and discord.py with Python 3.14 and later
        "zstd": lambda: zstd.ZstdDecompressor().decompress,
    },
}


def messages(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        if at > len(data):
            raise Failed("the file ends within a message")
        return data[at - count : at]

    def number() -> int:
        return struct.unpack("<I", take(4))[0]

    while at < len(data):
        yield number(), take(number()), take(number())


def read(data: bytes, make: Callable[[], Decode]) -> dict[str, int]:
    sessions: dict[int, Decode] = {}
    sent_bytes = said_bytes = count = 0
    for session, sent, said in messages(data):
        decode = sessions.setdefault(session, make())
        try:
            got = decode(sent)
        except Exception as error:
            raise Failed(f"message {count} of session {session} cannot be decoded: {error}") from error
        if got != said:
            raise Failed(f"message {count} of session {session} is {got[:200]!r} instead of {said[:200]!r}")
        count += 1
        sent_bytes += len(sent)
        said_bytes += len(said)
    return {"messages": count, "sessions": len(sessions), "sent": sent_bytes, "said": said_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, choices=DECODERS)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    data = arguments.file.read_bytes()
    for name, make in DECODERS[arguments.method].items():
        print(json.dumps({"client": "python", "decoder": name, **read(data, make)}), flush=True)
    print("ok")


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError) as error:
        sys.exit(f"failed: {error}")
