"""README.md and docs/ agree with the code.

Links and anchors, command lines, room commands, config keys and samples, metrics, exit codes,
names of log fields. That config.example.yaml has every key: `tests/unit/config/test_known_keys.py`.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from ruamel.yaml import YAML

from bridge.cli.console import ExitCode, Files
from bridge.cli.program import program
from bridge.config.document import render_path
from bridge.config.known_keys import keys_of, known_paths
from bridge.config.model import Config
from bridge.rooms.commands import COMMANDS
from bridge.texts import shipped, spoken
from tests.support import metric_table, reference_pages
from tests.unit.config.configs import SMALLEST

ROOT = Path(__file__).parents[2]
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
)
OPERATORS = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
CUSTOMERS = {
    language: (ROOT / "docs" / f"customers.{name}.md").read_text(encoding="utf-8")
    for language, name in {"en": "en", "zh-CN": "zh", "zh-TW": "zh-TW", "ja": "ja"}.items()
}
ROOMS = {**CUSTOMERS, "admins": (ROOT / "docs" / "using.md").read_text(encoding="utf-8")}
USAGE_ERROR = 2
"""click's exit code for a wrong command line."""
NOT_COMMANDS = frozenset({"org.matrix_webchat.room"})
"""Lower-case words in code style that are not room commands."""

BY_MAKE = frozenset({"demo"})
"""Commands that the docs name as `make <command>`."""

_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_SAMPLE = re.compile(r"^( *)```yaml\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_LOG_CALL = re.compile(
    r"log\.(?:debug|info|warning|error|exception|bind)\(((?:[^()]|\([^()]*\))*)\)", re.IGNORECASE
)
_COMMAND = re.compile(r"(?:^|^\$ |\S/bin/|`)matrix-webchat((?: [^\s#|>`…;&]+)*)", re.MULTILINE)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub generates them."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = words.replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {
        slug if n == 0 else f"{slug}-{n}" for slug, most in found.items() for n in range(most + 1)
    }


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_have_a_target(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place) if place else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_python_files_named_in_the_docs_exist() -> None:
    modules = [
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in ("bridge", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    named = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"[\w/]+\.py\b", page.read_text(encoding="utf-8"))
    }
    assert named
    assert [one for one in named if not any(m.endswith(f"/{one[1]}") for m in modules)] == []


@pytest.mark.parametrize("name", ["docs/how-it-works.md", "bridge/webchat/PROTOCOL.md"])
def test_names_of_the_code_exist(name: str) -> None:
    """Checks names written with their class or module, such as `Room.take`, `machine.step`."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bridge").rglob("*.py"))
    page = _FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    named = set(re.findall(r"`(?:[\w/]+\.)+([A-Za-z_]\w*)`", page)) - {"py", "md", "sql", "jsonl"}
    defined = set(
        re.findall(r"^\s*(?:async def |def |class )?(\w+)(?= ?[(:=\[])", code, re.MULTILINE)
    )
    assert named
    assert named - defined == set()


def _unknown(words: list[str]) -> str:
    """Return the first unknown command or flag of a command line, empty if there is none."""
    command: click.Command = program
    flags = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    takes_value = _with_value(command)
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            if word.split("=")[0] not in flags | {"-h", "--help"}:
                return word
            if word in takes_value:
                next(rest, None)
        elif isinstance(command, click.Group):
            inner = command.commands.get(word)
            if inner is None:
                return word
            command = inner
            flags |= {flag for one in command.params for flag in one.opts}
            takes_value |= _with_value(command)
    return ""


def _with_value(command: click.Command) -> set[str]:
    options = [one for one in command.params if isinstance(one, click.Option)]
    return {flag for one in options if not one.is_flag for flag in one.opts}


def _command_lines(text: str) -> Iterator[str]:
    for match in _COMMAND.finditer(text):
        yield match.group(1).strip()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_command_lines_are_valid(page: Path) -> None:
    lines = list(_command_lines(page.read_text(encoding="utf-8")))
    wrong = {line: missing for line in lines if (missing := _unknown(_split(line)))}
    assert wrong == {}


def _split(line: str) -> list[str]:
    """Split a shell command line, also one with an unclosed quote."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def test_every_command_is_documented() -> None:
    everything = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {line.split(" ")[0] for line in _command_lines(everything)}
    named |= {command for command in BY_MAKE if f"make {command}" in everything}
    public = {name for name, one in program.commands.items() if not one.hidden}
    assert public - named == set()


def test_documented_room_commands_exist() -> None:
    """Commands with the prefix are checked on every page, those without it on pages about rooms."""
    verbs = set(COMMANDS)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"!wc ([a-z]+)", text)) - verbs == set(), _name(page)
    for language, page_text in ROOMS.items():
        written = {code.split(" ")[0] for code in _CODE.findall(_FENCE.sub("", page_text))}
        words = {word for word in written if re.fullmatch(r"[a-z][a-z._]+", word)}
        assert words - verbs - NOT_COMMANDS == set(), language


def test_troubleshooting_in_chinese_has_the_same_rows() -> None:
    """Both pages quote the same texts of the program, row by row, and name the same remedies."""
    english, chinese = (
        [
            [_CODE.findall(cell) for cell in re.split(r"(?<!\\)\|", line)[1:4]]
            for line in (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()
            if re.match(r"\| |##", line)
        ]
        for name in ("troubleshooting.md", "troubleshooting.zh.md")
    )
    assert len(english) > 90
    assert [row[:1] for row in chinese] == [row[:1] for row in english]
    assert [[*map(set, row)] for row in chinese] == [[*map(set, row)] for row in english]


def test_customer_guides_match_in_all_languages() -> None:
    """The guides have the same structure, the real queue card and commands in their language."""
    shapes = {
        tuple(re.findall(r"^#+(?= )|^\d\.|^!|^```", text, re.MULTILINE))
        for text in CUSTOMERS.values()
    }
    assert len(shapes) == 1
    queue = {"en": "Sales", "zh-CN": "销售", "zh-TW": "銷售", "ja": "営業"}
    for language, text in CUSTOMERS.items():
        card = shipped(language)["queue.position"]
        assert card.format(queue=queue[language], position=2, prefix="!wc") in text
        position = ["en", "zh-CN", "zh-TW", "ja"].index(language)
        own = {(verb, *row.names.split())[position] for verb, row in COMMANDS.items()}
        used = {code.split(" ")[0] for code in _CODE.findall(_FENCE.sub("", text))} & {
            word for verb, row in COMMANDS.items() for word in (verb, *row.names.split())
        }
        assert used - own == set(), language


def test_the_customer_guides_in_chinese_say_the_same() -> None:
    """Paragraph by paragraph: the same links, signs and numbers, and one of each command."""
    english, simplified, traditional = (
        [
            (
                Counter(re.findall(r"[❌🔁🔔🙏🙋👍👎🔓🔑⏳🕘]|1️⃣|⭐+", paragraph)),
                Counter(re.findall(r"\d+(?:\.\d+)*", re.sub(r"\]\([^)]*\)", "]", paragraph))),
                len(_CODE.findall(paragraph)),
                [
                    link
                    for link in _LINK.findall(paragraph)
                    if not re.match("commands|custom", link)
                ],
            )
            for paragraph in CUSTOMERS[language].split("\n\n")
        ]
        for language in ("en", "zh-CN", "zh-TW")
    )
    assert traditional == simplified
    assert len(english) == len(traditional)


def test_the_customer_guide_in_traditional_chinese_has_no_simplified_word() -> None:
    text = CUSTOMERS["zh-TW"].replace("[简体中文](customers.zh.md)", "")
    assert [char for char in text if spoken(char, "zh-TW")[1] == "zh-CN"] == []
    assert (
        re.findall("房間|客戶端|信息|網絡|服務器|默認|軟件|視頻|賬|登錄|點擊|主服務器", text) == []
    )


@pytest.mark.parametrize("name", reference_pages.PAGES)
def test_reference_pages_are_up_to_date(name: str) -> None:
    """`python -m tests.support.reference_pages` updates them."""
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == reference_pages.PAGES[name]()


def test_every_page_is_in_the_site_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages - set(re.findall(r"[\w.-]+\.md", listed)) == set()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_documented_config_keys_exist(page: Path) -> None:
    """Checks keys written with their section, such as `webchat.login_rate`."""
    known = {render_path(path) for path in known_paths()}
    sections = {str(path[0]) for path in known_paths()}
    named = {
        code.removesuffix("_FILE")
        for code in _CODE.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
        if "." in code and code.partition(".")[0] in sections
    }
    keys = {code for code in named if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", code)}
    assert keys - known - {"homeserver.yaml"} == set()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_samples_of_the_configuration_are_valid(page: Path, tmp_path: Path) -> None:
    """Each is completed with what it leaves out of the smallest configuration."""
    yaml = YAML(typ="safe", pure=True)
    for indent, text in _SAMPLE.findall(page.read_text(encoding="utf-8")):
        sample = yaml.load(re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        if not set(sample) <= set(keys_of(Config)):
            continue  # of the homeserver
        whole = yaml.load(SMALLEST)
        if "enterprises" in sample:
            whole = {name: whole[name] for name in ("homeserver", "bridge")}
        for name, value in sample.items():
            whole[name] = whole.get(name, {}) | value if isinstance(value, dict) else value
        with (tmp_path / "config.yaml").open("w") as stream:
            yaml.dump(whole, stream)
        Files(tmp_path / "config.yaml").load()


def test_metrics_page_is_up_to_date() -> None:
    """`python -m tests.support.metric_table` updates it."""
    assert metric_table.TARGET.read_text(encoding="utf-8") == metric_table.page()


def test_exit_codes_are_documented() -> None:
    table = OPERATORS.partition("## Exit codes")[2].partition("\n\nSIGTERM")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {
        *(code.value for code in ExitCode),
        USAGE_ERROR,
    }


def test_fields_of_log_lines_have_one_name() -> None:
    """`room`, `user`, `event_id`, see docs/operators.md; structlog uses `event` for the message."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bridge").rglob("*.py"))
    fields = {field for call in _LOG_CALL.findall(code) for field in re.findall(r"(\w+)=", call)}
    assert {"room", "user"} <= fields
    assert fields & {"event", "mxid", "room_id", "user_id", "session_id", "ghost", "who"} == set()


def test_the_check_detects_unknown_commands_and_flags() -> None:
    wrong: Mapping[str, str] = {"frobnicate": "frobnicate", "register --rotat": "--rotat"}
    assert {line: _unknown(line.split()) for line in wrong} == wrong
    assert _unknown(["run", "-c", "config.yaml"]) == ""
