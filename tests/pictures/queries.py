"""Asks Prometheus what the dashboard and the alert rules show."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable

Ask = Callable[..., Awaitable[dict]]

# About one point for each two pixels of a panel.
POINTS = 200


def variables(dashboard: dict) -> dict[str, str]:
    """Returns the values of the dashboard's variables when it is opened: all nodes."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "datasource":
            continue
        if not variable.get("includeAll"):
            raise SystemExit(f"the variable {variable['name']} has no value that stands for all")
        values[variable["name"]] = variable.get("allValue") or ".*"
    return values


def fill(expression: str, values: dict[str, str], step: int, scrape: int) -> str:
    """Replaces variables as Grafana does."""
    values = {**values, "__rate_interval": f"{max(step + scrape, 4 * scrape)}s", "__interval": f"{step}s"}
    filled = re.sub(r"\$\{?(\w+)\}?", lambda name: values.get(name[1], name[0]), expression)
    if "$" in filled:
        raise SystemExit(f"an unknown variable: {filled}")
    return filled


def legend(pattern: str, labels: dict[str, str]) -> str:
    """Returns the name of a series, with labels in the place of `{{label}}`."""
    if not pattern:
        return ", ".join(value for name, value in labels.items() if name != "__name__")
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda label: labels.get(label[1], ""), pattern)


# The nodes of the pictures have no certificates: HAProxy is in front of them.
WITHOUT_DATA = {"Time until a certificate expires"}


async def panels(dashboard: dict, ask: Ask, start: float, end: float, scrape: int) -> list[dict]:
    """Returns each panel with `times` and, for each series, its name and values. Fails if a query has no data, but for
    those about what this cluster does not have."""
    step = max(scrape, math.ceil((end - start) / POINTS))
    values = variables(dashboard)
    times = list(range(int(start), int(end) + 1, step))
    shown, empty = [], []
    for panel in dashboard["panels"]:
        series = []
        for target in panel.get("targets", []):
            expression = fill(target["expr"], values, step, scrape)
            answer = await ask("query_range", query=expression, start=times[0], end=times[-1], step=step)
            found = 0
            for one in answer["result"]:
                by_time = {int(at): float(value) for at, value in one["values"]}
                numbers = [by_time.get(at) for at in times]
                numbers = [None if number is None or math.isnan(number) else number for number in numbers]
                if any(number is not None for number in numbers):
                    found += 1
                    series.append({"name": legend(target.get("legendFormat", ""), one["metric"]), "values": numbers})
            if not found and panel["title"] not in WITHOUT_DATA:
                empty.append(f"{panel['title']}: {expression}")
        shown.append({**panel, "times": times, "series": series})
    if empty:
        raise SystemExit("\n".join(["these queries have no data:", *empty]))
    return shown


async def alerts(ask: Ask, start: float, end: float) -> list[dict]:
    """Returns each alert rule with its state now, and for each instance when it was pending and when it fired."""
    rules = (await ask("rules", type="alert"))["groups"][0]["rules"]
    history = await ask("query_range", query="ALERTS", start=int(start), end=int(end), step=1)
    for rule in rules:
        rule["history"] = {}
        for one in history["result"]:
            labels = one["metric"]
            if labels["alertname"] == rule["name"]:
                instance = rule["history"].setdefault(labels.get("instance", ""), {"pending": [], "firing": []})
                instance[labels["alertstate"]].extend(int(at) for at, _ in one["values"])
    if not any(rule["state"] == "firing" for rule in rules):
        raise SystemExit("no alert fires at the end of the run")
    return rules
