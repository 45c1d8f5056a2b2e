"""Generator of deploy/kubernetes.yaml: the Helm chart rendered with its default values.

pip install helm-python-sdk   # Helm as a library; too large for an extra of the project
python -m tests.support.chart

Tests do not need Helm: they compare a digest of the chart, and check the rendered file.
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
    """Return the SHA-256 of all files of the chart."""
    made = sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        made.update(f"{path.relative_to(CHART).as_posix()}\n".encode() + path.read_bytes())
    return made.hexdigest()


def render(values: dict[str, Any] | None = None) -> str:
    """Render the chart into one YAML stream of manifests."""
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
