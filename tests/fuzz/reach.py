"""Measure with coverage.py the branches of the modules under test that inputs take.

    python -m tests.fuzz.reach TARGET FOLDER

prints them for the inputs in a folder, as `123/140`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from coverage import Coverage

from tests.fuzz.quiet import quiet
from tests.fuzz.shapes import TARGETS
from tests.fuzz.target import Target


def reached(target: Target, inputs: Iterable[bytes]) -> str:
    """Run the target on all inputs; return the branches taken, as `123/140`.

    Raises whatever the target raises.
    """
    measured = Coverage(
        data_file=None, branch=True, config_file=False, include=_files(target.modules)
    )
    with quiet(), measured.collect():
        for data in inputs:
            target.run(data)
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measured.json_report(outfile=report.name)
        totals = json.loads(Path(report.name).read_text(encoding="utf-8"))["totals"]
    return f"{totals['covered_branches']}/{totals['num_branches']}"


def _files(modules: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for name in modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin)
        found.append(str(path.parent / "*.py" if path.name == "__init__.py" else path))
    return found


if __name__ == "__main__":
    folder = sorted(Path(sys.argv[2]).iterdir())
    sys.stdout.write(reached(TARGETS[sys.argv[1]], (path.read_bytes() for path in folder)) + "\n")
