"""Draws the pictures: writes a page with the data, and has headless Chromium take a picture of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH = 1400
# The heights of the page's head and of a row of the dashboard's grid, as in page.js.
HEAD_PX, ROW_PX = 60, 30
# The heights of a rule, of each of its instances, and of the space between rules.
ALERT_PX, ALERT_LINE_PX, ALERT_GAP_PX = 34, 22, 13
DEADLINE_S = 120
# A picture of a page is larger than these bytes if it shows anything, and must stay below the others for the docs.
SMALLEST, LARGEST = 10_000, 400_000


async def picture(kind: str, data: dict, height: int, to: Path, *scripts: Path) -> None:
    """Takes a picture of page.html with this data."""
    page = (HERE / "page.html").read_text()
    code = "\n".join(script.read_text() for script in (*scripts, HERE / "page.js"))
    # `</` would end the script.
    text = json.dumps({"kind": kind, "width": WIDTH, **data}).replace("</", "<\\/")
    page = page.replace("/* data */", f"const data = {text};").replace("/* code */", code)
    with tempfile.TemporaryDirectory() as folder:
        html, png = Path(folder) / "page.html", Path(folder) / "page.png"
        html.write_text(page)
        browser = await asyncio.create_subprocess_exec(
            os.environ["UTILBOT_TEST_BROWSER"],
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
            *("--enable-logging=stderr", f"--user-data-dir={folder}/profile", f"--screenshot={png}"),
            *(f"--window-size={WIDTH},{height}", "--virtual-time-budget=5000", html.as_uri()),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(browser.communicate(), DEADLINE_S)
        except asyncio.TimeoutError:
            browser.kill()
            raise SystemExit(f"{to.name}: Chromium has not drawn it within {DEADLINE_S} s") from None
        problems = [line for line in said.decode(errors="replace").splitlines() if "CONSOLE" in line]
        if problems or not png.exists():
            raise SystemExit("\n".join([f"{to.name} was not drawn:", *problems]))
        # 256 colours are enough for lines and letters, and take a third of the bytes.
        subprocess.run(["pngquant", "--force", "--strip", "--output", png, "256", png], check=True)
        size = png.stat().st_size
        if not SMALLEST < size < LARGEST:
            raise SystemExit(f"{to.name} has {size} bytes")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(png.read_bytes())
        print(f"{to}: {size // 1000} kB", flush=True)


async def draw_dashboard(shown: dict, uplot: Path, to: Path) -> None:
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown["panels"])
    data = {**shown, "style": (uplot / "uPlot.min.css").read_text()}
    await picture("dashboard", data, HEAD_PX + rows * ROW_PX, to, uplot / "uPlot.iife.min.js")


async def draw_alerts(shown: dict, to: Path) -> None:
    rows = [max(ALERT_PX, len(rule["history"]) * ALERT_LINE_PX) + ALERT_GAP_PX for rule in shown["rules"]]
    await picture("alerts", {**shown, "panels": []}, HEAD_PX + 50 + sum(rows), to)
