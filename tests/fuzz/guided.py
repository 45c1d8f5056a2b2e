"""The atheris driver: run a target on inputs mutated towards new branches.

    python -m tests.fuzz.guided TARGET SECONDS FIGURES FOLDER

`FOLDER/corpus` keeps the inputs that reached new branches, for later runs. A failing input is saved
in FOLDER; `python -m tests.fuzz replay TARGET FILE` runs it again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

LONGEST = 8_192
"""Maximum bytes of an input. Hypothesis covers long inputs, as it can repeat a piece."""
SLOW = 20
"""Seconds after which an input counts as hanging, long enough for a busy machine."""

# All imports of the bridge must be in here: importing adds the branch counters.
with atheris.instrument_imports(include=["bridge"], enable_loader_override=False):
    from tests.fuzz.gauge import Gauge
    from tests.fuzz.quiet import quiet
    from tests.fuzz.shapes import TARGETS


def main(name: str, seconds: int, path: Path, folder: Path) -> None:
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    words = folder / "words"
    words.write_text("\n".join(_entry(word) for word in target.words), encoding="ascii")
    gauge = Gauge(path, seconds)

    def run(data: bytes) -> None:
        gauge.count()
        target.run(data)

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={SLOW}",
        f"-dict={words}",
        f"-artifact_prefix={folder}/found-",
        "-print_final_stats=1",
        "-rss_limit_mb=2048",
        str(corpus),
    ]
    with quiet():
        atheris.Setup([sys.argv[0], *options], run)
        atheris.Fuzz()


def _entry(word: str) -> str:
    """Return a word as an entry of a libFuzzer dictionary."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
