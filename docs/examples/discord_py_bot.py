"""A bot on discord.py. It prints every message; the library sends heartbeats and resumes a lost connection.

    pip install discord.py
    UTILBOT_KEY=development.… python3 discord_py_bot.py
"""
import os

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

# The address of the gateway: all that differs from a bot on Discord.
URL = os.environ.get("UTILBOT_URL", "http://127.0.0.1:8080")
Route.BASE = f"{URL}/api/v10"
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(URL.replace("http", "ws", 1))

intents = discord.Intents.default()
intents.message_content = True
client = discord.Client(intents=intents)

@client.event
async def on_ready():
    print(f"ready as {client.user}", flush=True)

@client.event
async def on_message(message):
    print(f"{message.author.name}: {message.content}", flush=True)

@client.event
async def on_resumed():
    print("resumed", flush=True)

client.run(os.environ["UTILBOT_KEY"])
