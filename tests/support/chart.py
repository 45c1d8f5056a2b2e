"""deploy/kubernetes.yaml: the Helm chart as rendered with its own values. To write it again:

pip install helm-python-sdk   # Helm itself, as a library; large, so no extra of ours has it
python -m tests.support.chart

Without Helm, tests see by a digest whether the chart has changed since, and look at what it makes.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "matrix-webchat"
RENDERED = DEPLOY / "kubernetes.yaml"
RELEASE = "matrix-webchat"
HEAD = """\
# The chart of helm/matrix-webchat with its own values, for those without Helm: put in yours, make
# the Secret (helm/README.md), and `kubectl apply -n <namespace> -f` it. It was written by
# tests/support/chart.py, from the chart with the digest
"""


def digest() -> str:
    """SHA-256 of all that decides on what the chart makes."""
    made = sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        made.update(f"{path.relative_to(CHART).as_posix()}\n".encode() + path.read_bytes())
    return made.hexdigest()


def render(values: dict[str, Any] | None = None) -> str:
    """The manifests, one document after the other."""
    from helm_python import Chart

    files = Chart.load(CHART).render(values, name=RELEASE, namespace="NAMESPACE")
    kept = (text.strip() for path, text in sorted(files.items()) if path.endswith(".yaml"))
    documents = [text.removeprefix("---\n") for text in kept if text]
    return "".join(f"---\n{text}\n" for text in documents).replace("  namespace: NAMESPACE\n", "")


def page() -> str:
    return f"{HEAD}# {digest()}\n{render()}"


if __name__ == "__main__":
    from helm_python import lint

    found = lint(CHART, strict=True)
    if found["errors"]:
        raise SystemExit(str(found["errors"]))
    RENDERED.write_text(page(), encoding="utf-8")
