"""Generator of docs/metrics.md: every metric with its labels, from the code. To regenerate:

python -m tests.support.metric_table
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from bridge.ops.metrics import Metrics

TARGET = Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD = """\
# Metrics

<!-- Written by tests/support/metric_table.py; tests/shape/test_docs.py compares. -->

`http://127.0.0.1:8000/metrics` for Prometheus (`metrics:` in the configuration). Each of
[several processes](scaling.md) has its own: add them up, but for what waits in the database
(`inbox_…`, `outbox_…`, `dead_letters`), which is the same everywhere and
counted every 15 seconds. Histograms have `_bucket`, `_sum` and `_count`. The label `enterprise` is
there only with [several call centres](operators.md#several-call-centres-in-one-process). Alert
rules and a dashboard are in [deploy](../deploy/README.md).

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""
PROCESS = "| `process_*` | | | memory, CPU, files and start of the process, as everywhere |\n"
"""Metrics of prometheus_client, which has them only on systems with /proc."""


class Metric(NamedTuple):
    name: str
    """Name in Prometheus; of a histogram, without `_bucket`, `_sum` and `_count`."""
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> frozenset[str]:
        """Names of the metric's series in Prometheus."""
        if self.type != "histogram":
            return frozenset({self.name})
        return frozenset(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


def metrics() -> Iterator[Metric]:
    for one in Metrics()._registry._collector_to_names:
        if isinstance(one, MetricWrapperBase):
            (family,) = one.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Metric(name, family.type, one._labelnames, family.documentation)


def page() -> str:
    """Return the text of the file."""
    rows = ""
    for one in metrics():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows += f"| `{one.name}` | {one.type} | {labels} | {one.meaning} |\n"
    return HEAD + rows + PROCESS


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
