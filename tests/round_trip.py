"""Reads each dashboard into Grafana's own model and writes it again: a key that is lost is misspelt or unknown.

Needs PyPI `grafana-foundation-sdk`. Prints what was lost and exits 1; exits 0 without a word.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# What Grafana reads although its published model does not have it; `*` stands for any one step of a path.
ALLOWED = [
    # What an import checks: the oldest Grafana that will do.
    "__requires",
    # Grafana's own annotations, which it adds itself where they are missing.
    "annotations.list.*.builtIn",
    # Options of the Prometheus data source, unknown to the model of dashboards.
    "annotations.list.*.step",
    "annotations.list.*.textFormat",
    "annotations.list.*.titleFormat",
    # Options of bar gauges since Grafana 10.3; an older one fits the bars into the panel by itself.
    "panels.*.options.sizing",
    "panels.*.options.maxVizHeight",
    # The same of stats: whether the name stands beside the value.
    "panels.*.options.wideLayout",
]


def lost(before, after, path=()):
    """Yields the paths whose value did not come back, with the value."""
    if any(matches(pattern, path) for pattern in ALLOWED):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, value in enumerate(before):
            yield from lost(value, after[index], (*path, str(index)))
    elif before != after:
        yield ".".join(path), before


def matches(pattern, path):
    steps = pattern.split(".")
    return len(steps) == len(path) and all(step in ("*", at) for step, at in zip(steps, path))


def main():
    plugins.register_default_plugins()
    failed = False
    for file in sorted(pathlib.Path(__file__).parent.parent.joinpath("dashboards").glob("*.json")):
        before = json.loads(file.read_text())
        after = json.loads(json.dumps(Dashboard.from_json(before), cls=JSONEncoder))
        for path, value in lost(before, after):
            print(f"{file.name}: {path} = {json.dumps(value)[:120]}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
