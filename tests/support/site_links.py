"""A mkdocs hook (mkdocs.yml) that adapts the pages of docs/: links, and numbered lists.

Pages link to files of the repository (`../deploy/README.md`), and those to pages. The site includes
each such file below repository/ and rewrites every link; a link to a folder, which a site cannot
show, becomes plain text. Broken links stay as they are, so that mkdocs reports them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BESIDE = "repository/"
_FENCED = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)
_INSIDE = re.compile(r"^(?= {3})", re.MULTILINE)
_LINK = re.compile(
    r"(?P<words>\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<place>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)"
)


def on_files(files: Any, config: Any, **_: object) -> Any:
    """Add linked files outside docs/, and the files that these link to."""
    from mkdocs.structure.files import File

    known: set[str] = {file.src_uri for file in files}
    waiting = [DOCS / file.src_uri for file in files.documentation_pages()]
    while waiting:
        for target in _targets(waiting.pop()):
            if target.is_file() and (name := _site_name(target)) not in known:
                known.add(name)
                files.append(File.generated(config, name, abs_src_path=str(target)))
                waiting += [target] if target.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Rewrite the links of a page; indent list continuations of three spaces by four."""
    name: str = page.file.src_uri
    here = ROOT / name.removeprefix(BESIDE) if name.startswith(BESIDE) else DOCS / name
    parts = _FENCED.split(markdown)
    parts[::2] = [
        _INSIDE.sub(" ", _LINK.sub(lambda found: _rewritten(found, here, name), one))
        for one in parts[::2]
    ]
    return "".join(parts)


def _rewritten(found: re.Match[str], here: Path, name: str) -> str:
    target = _resolved(here, found["place"])
    if target.is_dir():
        return found["words"][1:-1]
    if not target.is_file():
        return found[0]
    place = os.path.relpath(_site_name(target), Path(name).parent)
    return f"{found['words']}({place}{found['anchor'] or ''})"


def _targets(page: Path) -> Iterator[Path]:
    for part in _FENCED.split(page.read_text(encoding="utf-8"))[::2]:
        for found in _LINK.finditer(part):
            yield _resolved(page, found["place"])


def _resolved(page: Path, place: str) -> Path:
    return Path(os.path.normpath(page.parent / place))


def _site_name(target: Path) -> str:
    below = target.is_relative_to(DOCS)
    return (target.relative_to(DOCS) if below else BESIDE / target.relative_to(ROOT)).as_posix()
