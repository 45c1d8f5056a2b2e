"""The driver of atheris: one target, inputs mutated towards branches that no input has reached.

    python -m tests.fuzz.guided TARGET SECONDS FIGURES FOLDER

`FOLDER/corpus` holds the inputs that reached something; a later run goes on from there. An input
that fails is left in FOLDER; `python -m tests.fuzz replay TARGET FILE` tries it again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

LONGEST = 8_192
"""Bytes of an input. Long inputs are left to hypothesis, which can repeat a piece."""
SLOW = 20
"""Seconds after which one input counts as hanging; the machine may be busy."""

# Before anything of the bridge is imported: it is the import that adds the counters.
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
    """A word as libFuzzer's dictionaries spell it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
