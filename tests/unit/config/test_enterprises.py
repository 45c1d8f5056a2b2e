"""Several call centres: entries of `enterprises`, what they inherit, and reloads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.cli.console import OUTER_CHECKS
from bridge.config.document import ConfigInvalid
from bridge.config.known_keys import example_config
from bridge.config.loading import compare, load_config, take_over
from bridge.config.model import Config
from tests.unit.config.configs import edited, load, problems

TWO = """\
homeserver: {address: http://localhost:8008, domain: example.org}
bridge:
  permissions: {"*": customer}
  language: ja
  limits: {rooms_per_user: 7}
rating: {options: [{id: 9, labels: {en: Nine}}]}
texts: {queue.next: {en: Next!}}
enterprises:
  - id: acme
    webchat: {base_url: https://a.example.org/webchat}
    queues: [{id: 1, name: Sales}]
    default_queue: 1
  - id: best
    webchat: {base_url: https://b.example.org/webchat, from: PC}
    queues: [{id: 1, name: Repairs}]
    default_queue: 1
    bridge:
      username_template: best_{agent}
      queue_username_template: best_queue_{queue}
      bot: {username: bestbot}
      permissions: {"example.org": admin}
      limits: {file: 1MiB}
    rating: {}
    texts: {queue.next: {en: Soon!}, queue.longer: {en: Later!}}
"""


def changed(old: str, new: str) -> str:
    assert old in TWO
    return TWO.replace(old, new, 1)


def told(folder: Path, text: str) -> list[str]:
    """Return what `check` reports about an invalid configuration."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path, {}, OUTER_CHECKS)
    except ConfigInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def test_entries_inherit_from_the_top_level(tmp_path: Path) -> None:
    acme, best = load(tmp_path, TWO).parts().values()
    assert (acme.webchat.base_url, best.webchat.base_url) == (
        "https://a.example.org/webchat",
        "https://b.example.org/webchat",
    )
    assert [queue.name for queue in (*acme.queues, *best.queues)] == ["Sales", "Repairs"]
    assert (acme.bridge.language, best.bridge.language) == ("ja", "ja")
    assert acme.bridge.limits.rooms_per_user == best.bridge.limits.rooms_per_user == 7
    assert (acme.bridge.limits.file, best.bridge.limits.file) == (50 * 1024**2, 1024**2)
    assert list(acme.bridge.permissions) == ["*"]
    assert list(best.bridge.permissions) == ["example.org"]
    assert (acme.appservice.bot.username, best.appservice.bot.username) == ("webchatbot", "bestbot")
    assert best.appservice.bot.displayname == "WebChat"
    assert [len(one.rating.options) for one in (acme, best)] == [1, 0]
    assert acme.texts == {"queue.next": {"en": "Next!"}}
    assert best.texts == {"queue.next": {"en": "Soon!"}, "queue.longer": {"en": "Later!"}}


def test_text_of_an_entry_keeps_other_languages_of_the_top_level(tmp_path: Path) -> None:
    text = changed("texts: {queue.next: {en: Next!}}", "texts: {queue.next: {en: Next!, ja: 次}}")
    _, best = load(tmp_path, text).parts().values()
    assert best.texts["queue.next"] == {"en": "Soon!", "ja": "次"}
    for old, new, where in (
        ("ja: 次", "fr: Suivant", 'texts."queue.next".fr: '),
        ("{en: Soon!}", "{fr: Suivant}", 'enterprises[1].texts."queue.next".fr: '),
    ):
        assert old in text
        (problem,) = told(tmp_path, text.replace(old, new))
        assert problem.partition(": ")[2].startswith(where)


def test_short_form_is_one_entry_without_a_name(tmp_path: Path) -> None:
    config = load(tmp_path, edited("Sales", "Sales"))
    assert config.parts() == {"": config}


def test_two_entries_are_valid(tmp_path: Path) -> None:
    assert told(tmp_path, TWO) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "enterprises:",
            "default_queue: 1\nenterprises:",
            (
                "line 8: default_queue: cannot be used together with enterprises: move it into each"
                " of their entries"
            ),
        ),
        ("id: best", "id: acme", "config.yaml line 13: enterprises[1].id: must be unique"),
        ("id: best", "id: Best", "enterprises[1].id: must be a short word of a-z 0-9 . _ -"),
        (
            "Repairs}]\n    default_queue: 1",
            "Repairs}]\n    default_queue: 2",
            "config.yaml line 16: enterprises[1].default_queue: must be the id of a queue (1)",
        ),
        ("from: PC", "form: PC", 'enterprises[1].webchat.form: unknown key; did you mean "from"?'),
        (
            "/webchat, from",
            "/webchat/cws, from",
            "enterprises[1].webchat.base_url: must end before",
        ),
        (
            "bot: {username: bestbot}",
            "bot: {displayname: B}",
            "[1].bridge.bot.username: must differ",
        ),
        (
            "best_{agent}",
            "webchat_b_{agent}",
            (
                "line 18: enterprises[1].bridge.username_template: would give agents names that"
                " those of acme could have: use another prefix"
            ),
        ),
        (
            "best_queue_{queue}",
            "webchat_queue_1{queue}",
            (
                "enterprises[1].bridge.queue_username_template: would give queues names that"
                " those of acme could have"
            ),
        ),
        ("bestbot", "best_bot", "enterprises[1].bridge.username_template: would give an agent the"),
        ("queue.longer", "queue.longr", 'enterprises[1].texts."queue.longr": no sentence has this'),
        ('{"*": customer}', '{"a.b:c:d": customer}', 'enterprises[0].bridge.permissions."a.b:c:d"'),
    ],
)
def test_mistakes_are_named_with_path_and_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    found = told(tmp_path, changed(old, new))
    assert any(says in problem for problem in found), found


def test_one_of_both_forms_is_required(tmp_path: Path) -> None:
    found = problems(tmp_path, "homeserver: {address: 'http://x', domain: x}\n")
    assert found == [
        f"config.yaml: {key}: must be given"
        for key in ("webchat", "queues", "default_queue", "bridge")
    ]


def test_an_entry_may_come_from_the_environment(tmp_path: Path) -> None:
    config = load(tmp_path, TWO, {"MATRIX_WEBCHAT_ENTERPRISES__1__WEBCHAT__SIGN_KEY": "hush-hush"})
    _, best = config.parts().values()
    assert best.webchat.sign_key.get_secret_value() == "hush-hush"


def test_commented_entry_of_the_example_is_valid(tmp_path: Path) -> None:
    """It is valid without its comment marks and the keys that it replaces."""
    head, _, rest = example_config().partition("# enterprises:\n")
    block, _, tail = rest.partition("\n\n")
    lines = [line.removeprefix("# ") for line in block.splitlines()]
    whole = load_config_text(tmp_path, f"{head}enterprises:\n" + "\n".join(lines) + f"\n\n{tail}")
    (acme,) = whole.parts().values()
    assert acme.bridge.username_template == "acme_{agent}"


def load_config_text(folder: Path, text: str) -> Config:
    """Load a configuration without the keys that `enterprises` replaces."""
    kept, drop = [], False
    for line in text.splitlines():
        if line[:1].isalpha():
            drop = line.partition(":")[0] in {"webchat", "queues", "default_queue"}
        if not drop:
            kept.append(line)
    return load(folder, "\n".join(kept))


# --- reload ---------------------------------------------------------------------------------------


def test_reload_applies_live_keys_of_each_entry(tmp_path: Path) -> None:
    old = load(tmp_path, TWO)
    text = changed("name: Repairs", "name: Mending").replace("from: PC", "from: APP, dialect: dual")
    new = load(tmp_path, text.replace("language: ja", "language: en"))
    assert compare(old, new) == {
        "bridge.language: ja -> en": True,
        "enterprises[0].bridge.language: ja -> en": True,
        "enterprises[1].bridge.language: ja -> en": True,
        "enterprises[1].queues[0].name: Repairs -> Mending": True,
        "enterprises[1].webchat.from: PC -> APP": True,
        "enterprises[1].webchat.dialect: auto -> dual": False,
    }
    acme, best = take_over(old, new).parts().values()
    assert (acme.bridge.language, best.bridge.language) == ("en", "en")
    assert (best.queues[0].name, best.webchat.source, best.webchat.dialect) == (
        "Mending",
        "APP",
        "auto",
    )
    assert acme.queues[0].name == "Sales"


def test_added_or_removed_entry_needs_a_restart(tmp_path: Path) -> None:
    old = load(tmp_path, TWO)
    text = TWO[: TWO.index("  - id: best")].replace("language: ja", "language: en")
    new = load(tmp_path, text + "retention: {bodies: 1h}\n")
    changes = compare(old, new)
    assert changes.pop("enterprises: [acme, best] -> [acme]") is False
    assert changes == {
        "bridge.language: ja -> en": False,
        "retention.bodies: 1d -> 1h": True,
    }
    taken = take_over(old, new)
    assert list(taken.parts()) == ["acme", "best"]
    assert taken.parts()["acme"].bridge.language == "ja"
    assert taken.retention.bodies == 3_600_000


def test_added_queue_needs_a_restart_for_its_entry_only(tmp_path: Path) -> None:
    old = load(tmp_path, TWO)
    text = changed("{id: 1, name: Repairs}", "{id: 1, name: Mending}, {id: 2, name: B}")
    new = load(tmp_path, text.replace("name: Sales", "name: Sell"))
    taken = take_over(old, new)
    acme, best = taken.parts().values()
    assert [queue.name for queue in (*acme.queues, *best.queues)] == ["Sell", "Repairs"]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("id: acme", "id: acme\n    zzz: 1", {"enterprises[0].zzz", "enterprises[1].id"}),
        ("id: acme", "id: acme\n    rating: 1", {"enterprises[0].rating", "enterprises[1].id"}),
        ("id: acme", "id: acme\n    bridge: 1", {"enterprises[0].bridge"}),
    ],
)
def test_mistake_in_one_entry_hides_none_of_another(
    tmp_path: Path, old: str, new: str, wanted: set[str]
) -> None:
    text = changed("id: best", "id: acme").replace(old, new, 1)
    assert {one.split(": ")[1] for one in told(tmp_path, text)} == wanted


def test_invalid_inherited_values_are_reported_once(tmp_path: Path) -> None:
    text = changed("rating: {options", "tracing: 1\nrating: {options")
    text = re.sub(r"(?m)^bridge:.*\n(  .*\n)*", "bridge: 1\n", text, count=1)
    assert [one.split(": ")[1] for one in told(tmp_path, text)] == ["bridge", "tracing"]


def test_an_entry_that_gets_a_queue_says_so_in_one_line(tmp_path: Path) -> None:
    old = load(tmp_path, TWO)
    entry = "{id: 1, name: Repairs}"
    assert entry in TWO
    new = load(tmp_path, TWO.replace(entry, f"{{id: 0, name: New}}, {entry}"))
    assert compare(old, new) == {"enterprises[1].queues: [1] -> [0, 1]": False}
