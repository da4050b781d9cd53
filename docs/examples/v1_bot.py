"""A bot on version 1 of the protocol. It prints what it receives, and connects again when it loses its connection.

Run it: pip install websockets && UTILBOT_KEY=development.… python3 v1_bot.py
"""
import asyncio
import json
import logging
import os
import random
from contextlib import suppress
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL = os.environ.get("UTILBOT_URL", "http://127.0.0.1:8080").replace("http", "ws", 1)
IDENTIFY = {"op": 1, "t": "identify", "d": {"type": "bot", "key": os.environ["UTILBOT_KEY"]}}

async def send_heartbeats(socket, interval_ms):
    with suppress(ConnectionClosed):
        while True:
            await socket.send(json.dumps({"op": 10}))
            await asyncio.sleep(interval_ms / 1000)

async def main():
    async for socket in connect(f"{URL}/?v=1"):
        with suppress(ConnectionClosed):
            async for message in socket:
                match json.loads(message):
                    case {"op": 5, "d": hello}:
                        heartbeats = asyncio.create_task(send_heartbeats(socket, hello["heartbeat"]))
                        await socket.send(json.dumps(IDENTIFY))
                    case {"op": 0, "t": name, "d": data}:
                        print(name, json.dumps(data), flush=True)
                    case {"op": -1, "e": code, "m": text}:  # The gateway closes the connection.
                        print("error", code, text, flush=True)
        if socket.close_code in (4000, 4001):  # The version or the key is wrong.
            break
        await asyncio.sleep(random.uniform(1, 5))

logging.basicConfig(level=logging.INFO)  # The library logs why it cannot connect.
asyncio.run(main())
