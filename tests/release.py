"""The steps of `make release` before and after the build. Needs only Python and git.

`check` fails unless the working tree may be released; `finish` writes the release notes (from
CHANGELOG.md) and the checksums to dist/. Nothing is published.
"""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTES, SUMS = "NOTES.md", "SHA256SUMS"


class NotReady(Exception):
    """The working tree must not be released; the message says why."""


def version(root: Path) -> str:
    found = re.search(
        r'^__version__ = "(\d+\.\d+\.\d+\S*)"$',
        (root / "bridge" / "__init__.py").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    if found is None:
        raise NotReady("bridge/__init__.py has no semantic version")
    return found[1]


def entry(root: Path) -> str:
    """Return this version's entry in CHANGELOG.md, without its heading, which must have a date."""
    text, number = (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.escape(version(root))
    found = re.search(
        rf"^## \[{number}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None or not found[1].strip():
        raise NotReady(f"CHANGELOG.md has no entry “## [{version(root)}] - YYYY-MM-DD”")
    return found[1].strip() + "\n"


def check(root: Path) -> None:
    """Raise NotReady if there are changes, no changelog entry, or a tag on another commit."""
    if changed := _git(root, "status", "--porcelain"):
        raise NotReady(f"the tree has changes:\n{changed}")
    entry(root)
    tag = f"v{version(root)}"
    if _git(root, "tag", "--list", tag) and tag not in _git(root, "tag", "--points-at", "HEAD"):
        raise NotReady(f"{tag} is the tag of another commit")


def finish(root: Path) -> str:
    """Write release notes and checksums to dist/; return the `git tag` command to run."""
    built = root / "dist"
    (built / NOTES).write_text(entry(root), encoding="utf-8")
    sums = (
        f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(built.iterdir())
        if path.name != SUMS
    )
    (built / SUMS).write_text("".join(sums), encoding="utf-8")
    return f"git tag --sign --file dist/{NOTES} v{version(root)}"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", *arguments],  # noqa: S607 - git of the PATH
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    try:
        if sys.argv[1] == "check":
            check(ROOT)
        else:
            sys.stdout.write(f"{finish(ROOT)}\n")
    except NotReady as error:
        sys.exit(f"no release: {error}")
