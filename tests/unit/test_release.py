"""Checks before a release, and the locks that it is built from."""

from __future__ import annotations

import re
import subprocess
import tomllib
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.release import NotReady, check, entry, finish, version

ROOT = Path(__file__).parents[2]
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.2.3] - 2026-12-31

### Added

- Wings.

## [1.2.2] - 2026-12-01

- Older.
"""


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(  # noqa: S603 - our own
        ["git", *who, *arguments],  # noqa: S607 - whichever there is
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that is ready for the release of 1.2.3."""
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=all")
    return tmp_path


def test_a_clean_tree_with_a_changelog_entry_is_ready(tree: Path) -> None:
    check(tree)
    git(tree, "tag", "v1.2.3")
    check(tree)  # with a tag of the same commit
    assert entry(tree) == "### Added\n\n- Wings.\n"


def test_a_tree_with_changes_is_refused(tree: Path) -> None:
    (tree / "odd").touch()
    with pytest.raises(NotReady, match=r"changes:\n.. odd"):
        check(tree)


@pytest.mark.parametrize(
    "heading", ["## [1.2.3]", "## [1.2.3] - soon", "## [1.2.30] - 2026-12-31", "## [Unreleased]"]
)
def test_a_version_without_an_entry_is_refused(tree: Path, heading: str) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("## [1.2.3] - 2026-12-31", heading))
    with pytest.raises(NotReady, match=re.escape("## [1.2.3] - ")):
        entry(tree)


def test_an_empty_entry_is_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("### Added\n\n- Wings.\n", ""))
    with pytest.raises(NotReady, match="no entry"):
        entry(tree)


def test_a_tag_of_another_commit_is_refused(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    git(tree, "commit", "--quiet", "--allow-empty", "--message=more")
    with pytest.raises(NotReady, match=r"v1\.2\.3 is the tag of another commit"):
        check(tree)


def test_finish_writes_notes_and_checksums(tree: Path) -> None:
    (tree / "dist").mkdir()
    (tree / "dist" / "a.whl").write_bytes(b"wheel")
    for _ in range(2):
        assert finish(tree) == "git tag --sign --file dist/NOTES.md v1.2.3"
    assert (tree / "dist" / "NOTES.md").read_text() == entry(tree)
    lines = (tree / "dist" / "SHA256SUMS").read_text().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["NOTES.md", "a.whl"]
    assert lines[1].startswith(sha256(b"wheel").hexdigest())


def test_the_changelog_begins_with_unreleased_changes() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in headings[1:])
    assert re.fullmatch(r"\d+\.\d+\.\d+", version(ROOT))


# --- the locks ------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, list[str]]:
    """Return a lock's pins by package; checks that each has hashes and nothing else."""
    pins: dict[str, list[str]] = {}
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        pin, *hashes = re.split(r"\s+--hash=", line.strip())
        assert hashes, line
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), line
        found = re.fullmatch(r"([a-z0-9-]+)==([^ ]+)(?: ; .+)?", pin)
        assert found is not None, f"no pin, but an address or an option: {pin}"
        pins.setdefault(found[1], []).append(found[2])
    return pins


def unmet(wanted: list[str], pins: dict[str, list[str]]) -> list[str]:
    """Return the requirements that apply to this machine and that no pin meets."""
    needs = [one for one in map(Requirement, wanted) if not one.marker or one.marker.evaluate()]
    return [
        str(one)
        for one in needs
        if not any(one.specifier.contains(pin) for pin in pins.get(canonicalize_name(one.name), ()))
    ]


def test_the_locks_meet_the_projects_requirements() -> None:
    """If it fails, run `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = locked("requirements.lock")
    assert unmet(project["project"]["dependencies"], pins) == []
    assert unmet(project["build-system"]["requires"], locked("requirements-build.lock")) == []


def test_the_lock_has_the_dependencies_of_its_packages() -> None:
    """Checked for the packages that are installed here."""
    pins = locked("requirements.lock")
    for name in pins:
        try:
            wanted = [one for one in requires(name) or () if "extra ==" not in one]
        except PackageNotFoundError:
            continue
        assert unmet(wanted, pins) == [], name


def test_unmet_requirements_are_found() -> None:
    pins = {"aiohttp": ["3.14.5"]}
    assert unmet(["aiohttp>=3.14", "aiohttp<3", "Nothing_Here"], pins) == [
        "aiohttp<3",
        "Nothing_Here",
    ]


def test_the_image_and_the_wheel_are_built_from_the_locks() -> None:
    for name in ("Dockerfile", "Makefile"):
        words = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").split()
        for lock in ("requirements.lock", "requirements-build.lock"):
            assert f"--require-hashes -r {lock}" in " ".join(words), name
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "!requirements*.lock" in kept
