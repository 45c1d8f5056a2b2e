"""`deploy/`: what operators take over as it is goes by the names that the bridge has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.metric_table import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "matrix-webchat.json"
KEYWORDS = frozenset({"absent", "by", "max", "min", "sum", "on", "or", "and", "unless", "vector"})
KEYWORDS_OF_COUNTERS = frozenset({"rate", "increase", "histogram_quantile"})
BY_PROMETHEUS = frozenset({"instance", "le"})
"""Labels that every series has, or every histogram."""
LABELS = {name: frozenset(one.labels) for one in metrics() for name in one.series}


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def alerts() -> Iterator[str]:
    for group in yaml(ALERTS)["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def panels() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def unknown(expression: str) -> set[str]:
    """Names of metrics and labels in a PromQL expression that the bridge does not have."""
    matchers = "".join(re.findall(r"\{([^}]*)\}", expression))
    labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
    labels |= set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", expression))))
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", expression)
    names = set(re.findall(r"\b[a-z]\w*", bare)) - KEYWORDS - KEYWORDS_OF_COUNTERS
    ours = {name for name in names if not name.startswith("process_")}
    known = BY_PROMETHEUS.union(*(LABELS.get(name, frozenset()) for name in ours))
    return (ours - set(LABELS)) | (labels - known)


@pytest.mark.parametrize("expression", [*alerts(), *panels()])
def test_dashboard_and_alerts_name_what_there_is(expression: str) -> None:
    assert unknown(expression) == set()


def test_what_there_is_not_is_noticed() -> None:
    assert unknown("sum by (room) (rate(webchat_phases[5m]))") == {"webchat_phases", "room"}
    assert unknown('max(dead_letters{lane="matrix"})') == {"lane"}


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(panels())
    missing = {one.name for one in metrics() if not re.search(rf"\b{one.name}", shown)}
    assert missing == {"webchat_phases_total", "inbox_age_seconds"}


def test_prometheus_takes_the_rules_and_the_dashboard(tmp_path: Path) -> None:
    """By its own tool (Debian's `prometheus`), where that is at hand."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool")
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$\w+", "5m", expression)}
        for number, expression in enumerate(panels())
    ]
    shown = tmp_path / "panels.yaml"
    shown.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    for what in (
        ("check", ALERTS),
        ("check", shown),
        ("test", ALERTS.with_name("alerts.test.yaml")),
    ):
        action, path = what
        done = subprocess.run(  # noqa: S603 - our own files
            [promtool, action, "rules", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
