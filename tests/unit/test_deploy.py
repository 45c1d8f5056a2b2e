"""`deploy/`: dashboard, alerts, systemd unit and Helm chart fit the bridge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge import __version__
from bridge.cli.console import ExitCode
from bridge.config.document import render_path
from bridge.config.loading import PICKLE_KEY
from tests.shape.test_docs import _unknown
from tests.support import chart
from tests.support.chart import DEPLOY
from tests.support.metric_table import metrics
from tests.unit.config.configs import load

ROOT = DEPLOY.parent
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "matrix-webchat.json"
KEYWORDS = frozenset(
    {"absent", "by", "max", "min", "sum", "on", "or", "and", "unless", "vector", "offset"}
)
KEYWORDS_OF_COUNTERS = frozenset({"rate", "increase", "histogram_quantile", "last_over_time"})
BY_PROMETHEUS = frozenset({"instance", "le"})
"""Labels that Prometheus adds to every series, or to every histogram."""
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
    """Return metrics and labels in a PromQL expression that the bridge does not have."""
    matchers = "".join(re.findall(r"\{([^}]*)\}", expression))
    labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
    labels |= set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", expression))))
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", expression)
    names = set(re.findall(r"\b[a-z]\w*", bare)) - KEYWORDS - KEYWORDS_OF_COUNTERS
    ours = {name for name in names if not name.startswith("process_")}
    known = BY_PROMETHEUS.union(*(LABELS.get(name, frozenset()) for name in ours))
    return (ours - set(LABELS)) | (labels - known)


@pytest.mark.parametrize("expression", [*alerts(), *panels()])
def test_dashboard_and_alerts_use_existing_metrics_and_labels(expression: str) -> None:
    assert unknown(expression) == set()


def test_unknown_metrics_and_labels_are_found() -> None:
    assert unknown("sum by (room) (rate(webchat_phases[5m]))") == {"webchat_phases", "room"}
    assert unknown('max(dead_letters{lane="matrix"})') == {"lane"}


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(panels())
    missing = {one.name for one in metrics() if not re.search(rf"\b{one.name}", shown)}
    assert missing == {"webchat_phases_total", "inbox_age_seconds"}


def test_promtool_accepts_the_rules_and_the_dashboard(tmp_path: Path) -> None:
    """Skipped without promtool (in Debian's `prometheus`)."""
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


# --- systemd --------------------------------------------------------------------------------------

UNIT = DEPLOY / "systemd" / "matrix-webchat.service"


def settings(section: str) -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]  # as typeshed has it
    parser.read(UNIT)
    return dict(parser[section])


def test_the_systemd_unit_fits_the_program_and_install_md() -> None:
    service, page = settings("Service"), (ROOT / "docs" / "install.md").read_text("utf-8")
    assert set(service["RestartPreventExitStatus"].split()) <= {
        str(code.value) for code in ExitCode
    }
    assert float(service["TimeoutStopSec"]) > 10, "a stop takes as long"
    # Else systemd would kill a schema upgrade half-way, and each retry too.
    probe = container()["startupProbe"]
    assert float(service["TimeoutStartSec"]) == probe["periodSeconds"] * probe["failureThreshold"]
    program, home = service["ExecStart"].split()[0], service["WorkingDirectory"]
    assert f"python3 -m venv {Path(program).parents[1]}" in page
    assert f"useradd --system --home-dir {home} {service['User']}" in page
    assert home == f"/var/lib/{service['StateDirectory']}"
    assert f" {UNIT.relative_to(ROOT)} " in page


def test_systemd_replicas_differ_in_name_and_ports(tmp_path: Path) -> None:
    """The ports are those that docs/scaling.md names for the load balancer."""
    drop_in = (UNIT.parent / "replicas.conf").read_text("utf-8")
    given = re.findall(r"^Environment=(\w+)=(.*)$", drop_in, flags=re.MULTILINE)
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    ports = set()
    for number in "123":
        own = {key: value.replace("%i", number).replace("%l", "host") for key, value in given}
        config = load(
            tmp_path, manifests()[f"ConfigMap {chart.RELEASE}"]["data"]["config.yaml"], own
        )
        assert config.bridge.replica == f"host-{number}"
        ports |= {config.appservice.port, config.metrics.port}
        assert f"matrix-webchat@{number}" in page
    assert ports == {29341, 29342, 29343, 8001, 8002, 8003}
    assert "29341 to 29343, with metrics on 8001 to 8003" in page


def test_systemd_accepts_the_unit_and_rates_it_as_well_isolated(tmp_path: Path) -> None:
    """Skipped without `systemd-analyze`; its exposure score may be at most 1.3 of 10."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze")
    # The program is not installed here.
    unit = tmp_path / UNIT.name
    text = re.sub(
        "^ExecStart=.*", "ExecStart=/bin/true", UNIT.read_text("utf-8"), flags=re.MULTILINE
    )
    unit.write_text(text, encoding="utf-8")
    for action in (("verify", "--man=no"), ("security", "--offline=true", "--threshold=13")):
        done = subprocess.run(  # noqa: S603 - our own file
            [analyze, *action, str(unit)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# --- Kubernetes -----------------------------------------------------------------------------------


def manifests() -> dict[str, Any]:
    """Return the chart's manifests by kind and name."""
    documents = YAML(typ="safe").load_all(chart.RENDERED)
    return {f"{one['kind']} {one['metadata']['name']}": one for one in documents}


def container() -> Any:
    (found,) = manifests()[f"StatefulSet {chart.RELEASE}"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_rendered_manifests_are_up_to_date_with_the_chart() -> None:
    """If it fails, run `python -m tests.support.chart`."""
    assert f"\n# {chart.digest()}\n" in chart.RENDERED.read_text(encoding="utf-8")


def test_the_chart_has_the_bridges_version() -> None:
    about = yaml(chart.CHART / "Chart.yaml")
    assert about["version"] == about["appVersion"] == __version__
    assert container()["image"] == f"matrix-webchat-bridge:{__version__}"


def test_a_pods_configuration_is_valid(tmp_path: Path) -> None:
    """It consists of the ConfigMap, environment variables and the files of the Secret."""
    data = manifests()[f"ConfigMap {chart.RELEASE}"]["data"]
    environment = {
        one["name"]: one.get("value", "matrix-webchat-0").replace("/secrets/", f"{tmp_path}/")
        for one in container()["env"]
    }
    page = (DEPLOY / "helm" / "README.md").read_text(encoding="utf-8")
    for secret in ("as_token", "hs_token", "pickle_key", "database_url"):
        value = "postgres://db/webchat" if secret == "database_url" else secret
        (tmp_path / secret).write_text(f"{value}\n")
        assert f"--from-file={secret} " in page
    config = load(tmp_path, data["config.yaml"], environment)
    assert config.appservice.hs_token.get_secret_value() == "hs_token"
    assert config.bridge.encryption.pickle_key.get_secret_value() == "pickle_key"
    assert config.database.url.get_secret_value() == "postgres://db/webchat"
    assert config.bridge.replica == "matrix-webchat-0"
    ports = {one["name"]: one["containerPort"] for one in container()["ports"]}
    assert ports == {"appservice": config.appservice.port, "metrics": config.metrics.port}
    assert config.appservice.address == f"http://{chart.RELEASE}:{config.appservice.port}"
    assert _unknown(container()["args"]) == ""


def test_tokens_that_register_generates_are_in_the_secret() -> None:
    """The README's command for creating the Secret names each of its files too."""
    secret = yaml(chart.CHART / "values.yaml")["secret"]["keys"]
    drawn = {"appservice.as_token", "appservice.hs_token", render_path(PICKLE_KEY)}
    assert drawn <= set(secret)
    page = (chart.CHART.parent / "README.md").read_text(encoding="utf-8")
    files = set(re.findall(r"--from-file=(\S+)", page))
    assert files == {*secret.values(), "registration.yaml"}


def test_a_pod_has_no_privileges_and_its_selectors_and_probes_match() -> None:
    pod = manifests()[f"StatefulSet {chart.RELEASE}"]["spec"]["template"]
    about, spec = pod["metadata"], pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert not spec["automountServiceAccountToken"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {spec['securityContext']['runAsUser']}:" in recipe
    names = {one["name"] for one in container()["ports"]}
    for one in manifests().values():
        if one["kind"] == "Service":
            assert one["spec"]["selector"].items() <= about["labels"].items()
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= names
        elif one["kind"] in {"NetworkPolicy", "PodDisruptionBudget"}:
            key = "podSelector" if one["kind"] == "NetworkPolicy" else "selector"
            assert one["spec"][key]["matchLabels"].items() <= about["labels"].items()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"] == {"path": "/_matrix/mau/live", "port": "appservice"}
