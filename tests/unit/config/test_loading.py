"""From a file to a config, or to all its problems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge.config.document import ConfigInvalid, Problem
from bridge.config.known_keys import known_paths, section_at
from bridge.config.loading import load_config
from bridge.config.model import Config, Permission
from tests.unit.config.configs import SMALLEST, edited, load, problems


def test_the_smallest_configuration(tmp_path: Path) -> None:
    config = load(tmp_path, SMALLEST)
    assert config.appservice.port == 29340
    assert config.appservice.max_body_size == 64 * 1024**2
    assert config.database.url.get_secret_value() == f"sqlite:///{tmp_path}/bridge.db"
    assert config.bridge.language == "zh-CN"
    assert config.retention.bodies == 86_400_000
    assert list(config.bridge.permissions.values()) == [Permission.CUSTOMER]
    (queue,) = config.queues
    assert (queue.id, queue.name, queue.source) == (1, "Sales", None)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sqlite:///bridge.db", "sqlite:///{0}/bridge.db"),
        ("sqlite:///data/bridge.db", "sqlite:///{0}/data/bridge.db"),
        ("sqlite:////data/bridge.db", "sqlite:////data/bridge.db"),
        ("postgres://u:p@host/name", "postgres://u:p@host/name"),
    ],
)
@pytest.mark.parametrize("from_environment", [False, True])
def test_a_relative_database_lies_beside_the_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    meant: str,
    *,
    from_environment: bool,
) -> None:
    """A command in any working directory finds the bridge's database."""
    monkeypatch.chdir(tmp_path)
    Path("etc").mkdir()
    section, variables = f'database: {{url: "{url}"}}\n', {}
    if from_environment:
        section, variables = "", {"MATRIX_WEBCHAT_DATABASE__URL": url}
    config = load(Path("etc"), SMALLEST + section, variables)
    assert config.database.url.get_secret_value() == meant.format(tmp_path / "etc")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    text = SMALLEST + (
        "appservice: {as_token: hunter2a, hs_token: hunter2b}\n"
        'database: {url: "postgres://u:hunter2c@h/d"}\n'
    )
    text = text.replace(
        "webchat:\n",
        "webchat:\n  sign_key: hunter2d\n  login: {type: password, password: hunter2e}\n"
        '  accounts: {"*": {name: n, password: hunter2f}}\n',
    )
    config = load(tmp_path, text)
    assert "hunter2" not in repr(config)
    assert config.webchat.accounts["*"].password.get_secret_value() == "hunter2f"


@pytest.mark.parametrize("language", ["zh-CN", "zh-TW", "en", "ja"])
def test_every_language_in_every_place(tmp_path: Path, language: str) -> None:
    text = edited("bridge:\n", f"bridge:\n  language: {language}\n")
    text += f"rating: {{options: [{{id: 1, labels: {{{language}: A}}}}]}}\n"
    text += f"texts: {{rating.thanks: {{{language}: B}}}}\n"
    config = load(tmp_path, text)
    assert config.bridge.language == language
    assert config.rating.options[0].labels == {language: "A"}
    assert config.texts == {"rating.thanks": {language: "B"}}


@pytest.mark.parametrize("value", ["2016", '"2016"', "auto"])
def test_a_dialect_may_look_like_a_number(tmp_path: Path, value: str) -> None:
    config = load(tmp_path, edited("webchat:\n", f"webchat:\n  dialect: {value}\n"))
    assert config.webchat.dialect == value.strip('"')


def test_a_rate_may_be_a_word(tmp_path: Path) -> None:
    config = load(tmp_path, edited("webchat:\n", "webchat:\n  login_rate: 5/2m\n"))
    assert (config.webchat.login_rate.count, config.webchat.login_rate.per_seconds) == (5, 120)


def test_an_address_loses_its_last_slash(tmp_path: Path) -> None:
    assert load(tmp_path, edited(":8008", ":8008/")).homeserver.address == "http://localhost:8008"


BLANK = "is blank: give a value, or leave the key out"
MISTAKES = [
    # shape
    (edited("  domain: example.org\n", ""), "line 1: homeserver.domain: must be given"),
    (edited("default_queue: 1\n", ""), "config.yaml: default_queue: must be given"),
    (edited("domain: example.org", "domain:"), "line 3: homeserver.domain: is empty: give it a"),
    (
        edited("  base_url", "  base_ulr"),
        'line 5: webchat.base_ulr: unknown key; did you mean "bas',
    ),
    (
        SMALLEST + "command_prefix: x\n",
        "line 11: command_prefix: unknown key here; it belongs at bridge.command_prefix",
    ),
    (
        SMALLEST + "zzz: 1\n",
        "line 11: zzz: unknown key (known here: homeserver, ",
    ),
    (
        edited("{id: 1, name: Sales}", "{id: 1, name: Sales, alias: [a]}"),
        'line 7: queues[0].alias: unknown key; did you mean "aliases"?',
    ),
    (
        edited("webchat:\n", "webchat:\n  login: {kind: visitor}\n"),
        "line 5: webchat.login.kind: unknown key (known here: type, name, ",
    ),
    (
        edited("webchat:\n", 'webchat:\n  accounts: {"*": {name: a, pasword: b}}\n'),
        'line 5: webchat.accounts."*".pasword: unknown key; did you mean "password"?',
    ),
    (edited("{id: 1, name", "{id: x, name"), "line 7: queues[0].id: must be a whole number"),
    *(
        (
            edited("name: Sales", f"name: {value}"),
            "line 7: queues[0].name: must be text: put the value in quotes",
        )
        for value in ("[a]", "{a}", "!a x")
    ),
    (
        edited("bridge:\n", "bridge:\n  tell_agents: {language: fr}\n"),
        "line 10: bridge.tell_agents.language: must be 'zh-CN', 'zh-TW', 'en', 'ja' or 'room'",
    ),
    (
        edited("webchat:\n", "webchat:\n  enterprise_id: 00123\n"),
        "line 5: webchat.enterprise_id: must be text: put the value in quotes",
    ),
    (SMALLEST + "metrics: yes please\n", "line 11: metrics: must be a mapping of keys to values"),
    (SMALLEST + "metrics: {enabled: maybe}\n", "line 11: metrics.enabled: must be true or false"),
    (SMALLEST + "metrics: {port: 70000}\n", "line 11: metrics.port: must be less than or equal"),
    *(
        (
            edited("name: Sales", f"name: {value}"),
            "line 7: queues[0].name: must be a name of 1 to 256 characters, not blank, without",
        )
        for value in ("''", "' '", r'"a\0b"', r'"a\nb"', "x" * 257)
    ),
    (
        edited("name: Sales", "name: Sales, aliases: ['']"),
        "line 7: queues[0].aliases[0]: must be a name of 1 to 256 characters",
    ),
    *(
        (SMALLEST + text, f"{key} {BLANK}")
        for text, key in (
            ("appservice:\n  id: ' '\n", "line 12: appservice.id:"),
            ("metrics: {hostname: '\u3000'}\n", "line 11: metrics.hostname:"),
            ("appservice: {bot: {displayname: ' '}}\n", "line 11: appservice.bot.displayname:"),
        )
    ),
    (edited("name: Sales", "name: Sales, to_agent: ' '"), f"line 7: queues[0].to_agent: {BLANK}"),
    (edited("webchat:\n", "webchat:\n  sign_key: ' '\n"), f"line 5: webchat.sign_key: {BLANK}"),
    *(
        (
            edited("webchat:\n", f"webchat:\n  tracks: '{tracks}'\n"),
            "line 5: webchat.tracks: must be JSON text such as [], or empty",
        )
        for tracks in ("from the shop", "[", '{"a": NaN}')
    ),
    *(
        (
            edited("webchat:\n", f"webchat:\n  login: {{ip: '{ip}'}}\n"),
            "line 5: webchat.login.ip: must be an IP address such as 203.0.113.9, or empty",
        )
        for ip in ("crm.example.org", "203.0.113", "203.0.113.9:80", "10.0.0.0/8", "010.0.0.1")
    ),
    *(
        (
            SMALLEST + f"rating: {{options: [{{id: 1, labels: {{en: '{label}'}}}}]}}\n",
            "line 11: rating.options[0].labels.en: must be a name of 1 to 256 characters",
        )
        for label in ("", " ")
    ),
    (
        edited("queues:\n  - {id: 1, name: Sales}", "queues: []"),
        "line 6: queues: must not be empty",
    ),
    (edited("queues:\n  - {id: 1, name: Sales}", "queues: 1"), "line 6: queues: must be a list"),
    (
        edited("webchat:\n", "webchat:\n  dialect: dua1\n"),
        "line 5: webchat.dialect: must be 'auto', '2016-11', '2016', '2019' or 'dual'",
    ),
    (edited('"*": customer', '"*": guest'), "line 10: bridge.permissions.\"*\": must be 'none'"),
    (edited('{"*": customer}', "{}"), "line 10: bridge.permissions: must not be empty"),
    # values
    *(
        (edited("webchat:\n", f"webchat:\n  login_rate: {{{it}}}\n"), f"login_rate.{it[:5]}")
        for it in ("count: true", "count: 99999999999", "per_seconds: false")
    ),
    (edited("{id: 1, name", "{id: 9223372036854775808, name"), "queues[0].id: must be less than"),
    (SMALLEST + "appservice: {max_body_size: 9999999999999999}\n", "must be at most 1024TiB"),
    (edited("webchat:\n", "webchat:\n  sign_key: |\n    abc\n"), "sign_key: ends with a line b"),
    (SMALLEST + f"provisioning: {{secret: ü{'x' * 32}}}\n", "must be printable ASCII characters"),
    (
        edited("example.org\nweb", "https://x\nweb"),
        "line 3: homeserver.domain: must be a server na",
    ),
    (
        edited("http://localhost:8008", "localhost:8008"),
        "line 2: homeserver.address: must be a URL",
    ),
    (
        edited("http://localhost:8008", "http://a:b@c"),
        "line 2: homeserver.address: must be a URL w",
    ),
    (edited("http://localhost:8008", "http://a:bc"), "line 2: homeserver.address: must be a URL"),
    (SMALLEST + "database: {url: bridge.db}\n", "line 11: database.url: must be sqlite:///file.db"),
    (
        SMALLEST + 'database: {url: "postgres://u:pass/word@db/name"}\n',
        "in user name and password, write @ / : # ? % as %40 %2F %3A %23 %3F %25",
    ),
    (
        SMALLEST + "retention: {bodies: 3}\n",
        "line 11: retention.bodies: must be a duration with it",
    ),
    (
        SMALLEST + "appservice: {max_body_size: 1K}\n",
        "line 11: appservice.max_body_size: must be gr",
    ),
    (
        SMALLEST + "appservice: {bot: {username: A}}\n",
        "line 11: appservice.bot.username: must be t",
    ),
    (
        SMALLEST + "appservice: {bot: {avatar: a}}\n",
        "line 11: appservice.bot.avatar: must be an add",
    ),
    (edited("bridge:\n", "bridge:\n  username_template: x\n"), "line 10: bridge.username_template"),
    (
        edited("bridge:\n", 'bridge:\n  queue_username_template: "{agent}"\n'),
        "has the unknown placeholder {agent}",
    ),
    (edited("bridge:\n", 'bridge:\n  username_template: "a{agent"\n'), "has unbalanced braces"),
    (edited("bridge:\n", 'bridge:\n  displayname_template: "{0}"\n'), "may hold only plain placeh"),
    (edited("bridge:\n", 'bridge:\n  displayname_template: "A"\n'), "must contain {name}"),
    (
        edited("bridge:\n", 'bridge:\n  displayname_template: "{nam}"\n'),
        "has the unknown placeholder {nam}; it ma",
    ),
    (edited("bridge:\n", 'bridge:\n  command_prefix: "a b"\n'), "must be a word without spaces"),
    (
        edited("webchat:\n", "webchat:\n  login: {name: x}\n"),
        "must contain {room_id} or {room_key}",
    ),
    (edited("webchat:\n", "webchat:\n  allowed_media_hosts: [10.0.0.1/8]\n"), "a network such as"),
    (edited("webchat:\n", 'webchat:\n  allowed_media_hosts: ["http://x"]\n'), "a network such as"),
    (edited("webchat:\n", 'webchat:\n  allowed_media_hosts: ["*"]\n'), "must be host, host:port"),
    *(
        (
            SMALLEST + f'appservice: {{hs_token: "{bad}"}}\n',
            "line 11: appservice.hs_token: must be printable ASCII characters",
        )
        for bad in ("a b", "a\\nb", "tökén")
    ),
    (
        edited("localhost:8008", "localhost:8008/_matrix/client"),
        "line 2: homeserver.address: must end before /_matrix",
    ),
    (
        edited("org/webchat", "org/webchat/tpi"),
        "line 5: webchat.base_url: must end before /tpi, which",
    ),
    (
        edited('{"*": customer}', '{"*": customer, "admin:example.org": admin}'),
        (
            'line 10: bridge.permissions."admin:example.org": is not a server name; a user id'
            " begins with @"
        ),
    ),
]


@pytest.mark.parametrize("server", ["b.org:8448", "*:8448", "b.org:*", "*.org", "[2001:db8::1]:80"])
def test_rules_for_servers(tmp_path: Path, server: str) -> None:
    text = edited('{"*": customer}', f'{{"*": customer, "{server}": customer}}')
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize("tracks", ["", "[]", '{"from": "shop"}'])
@pytest.mark.parametrize("ip", ["", "203.0.113.9", "2001:db8::1"])
def test_customer_data_for_the_call_centre(tmp_path: Path, tracks: str, ip: str) -> None:
    more = f"webchat:\n  tracks: '{tracks}'\n  login: {{ip: '{ip}'}}\n"
    server = load(tmp_path, edited("webchat:\n", more)).webchat
    assert (server.tracks, server.login.ip) == (tracks, ip)
    (nested,) = problems(tmp_path, edited("webchat:\n", f"webchat:\n  tracks: '{'[' * 5000}'\n"))
    assert nested.endswith("must be JSON text such as [], or empty")


def test_blanks_around_a_name_or_an_address_do_not_count(tmp_path: Path) -> None:
    """As `>` and `|` add a line break."""
    text = edited("webchat:\n", "webchat:\n  login: {ip: ' 10.0.0.1 '}\n")
    text += "rating:\n  options:\n  - id: 1\n    labels:\n      en: >\n        Very good\n"
    config = load(tmp_path, text)
    assert config.webchat.login.ip == "10.0.0.1"
    assert config.rating.options[0].labels["en"] == "Very good"


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    all_said = problems(tmp_path, text)
    assert any(said in one for one in all_said), all_said
    assert all(one.startswith("config.yaml") for one in all_said)


def test_no_number_takes_true_for_one() -> None:
    """In any section, also one that is added later: pydantic does."""
    numbers = {path for path, key in known_paths().items() if key.info.annotation in {int, float}}
    assert {("appservice", "port"), ("default_queue",), ("retention", "chats")} <= numbers
    for path in numbers:
        section = section_at(path[:-1])
        assert section is not None
        with pytest.raises(ValidationError) as caught:
            section.model_validate({path[-1]: True})
        said = [one["msg"] for one in caught.value.errors() if one["loc"] == path[-1:]]
        assert said == ["Value error, must be a number, not true or false"], path


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = edited("domain: example.org", "domain: ' '").replace("id: 1", "id: x") + "zzz: 1\n"
    text = text.replace("default_queue: 1\n", "")
    lines = [one.split(":")[0] for one in problems(tmp_path, text)]
    assert lines == [
        "config.yaml line 3",
        "config.yaml line 7",
        "config.yaml line 10",
        "config.yaml",
    ]


@pytest.mark.parametrize(
    "fault",
    [
        "homeserver: {address: http://localhost:8008}\nqueues: [{id: 1, name: A}]\n",
        "homeserver: {address: a, domain: d}\nqueues: [{id: 1, name: A, hours: Mon 9:00-18:00}]\n",
        "homeserver: {address: http://a, domain: d, zzz: 1}\nqueues: [{id: 1, name: A, zzz: 1}]\n",
    ],
)
def test_a_wrong_value_hides_no_other_mistake(tmp_path: Path, fault: str) -> None:
    """Only rules that need the wrong value are skipped."""
    text = fault + (
        "webchat: {base_url: https://c.test, accounts: 1, robot: {enabled: true}}\n"
        "default_queue: 7\n"
        'bridge: {permissions: {"@ada": admin, "*": customer}, timezone: x}\n'
        "console: {public_url: x}\n"
        "database: {url: x}\n"
        "provisioning: {secret: x}\n"
    )
    said = {one.split(": ")[1] for one in problems(tmp_path, text)}
    assert said >= {
        "webchat.accounts",
        "webchat.robot.mode",
        "default_queue",
        'bridge.permissions."@ada"',
        "bridge.timezone",
        "console.public_url",
        "database.url",
        "provisioning.secret",
    }


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("{id: 1, name: Sales}", "{id: x, name: Sales}", "queues[0].id"),
        ("{id: 1, name: Sales}", "{name: Sales}", "queues[0].id"),
        ("  - {id: 1, name: Sales}", "  - 1", "queues[0]"),
        ("queues:\n  - {id: 1, name: Sales}\n", "", "queues"),
        ("default_queue: 1", "default_queue: x", "default_queue"),
        ("default_queue: 1\n", "", "default_queue"),
        ("domain: example.org", "domain: ' '", "homeserver.domain"),
        ('{"*": customer}', '{"*": guest}', 'bridge.permissions."*"'),
        ('permissions: {"*": customer}', "language: en", "bridge.permissions"),
        ('bridge:\n  permissions: {"*": customer}\n', "", "bridge"),
        ("bridge:\n", "retention: {bodies: x, rows: 1h}\nbridge:\n", "retention.bodies"),
        ("bridge:\n", "appservice: {port: x}\nbridge:\n", "appservice.port"),
        ("bridge:\n", "appservice: 1\nbridge:\n", "appservice"),
        ("bridge:\n", 'appservice: {as_token: "a b", hs_token: a}\nbridge:\n', "appservice.as_t"),
        ("bridge:\n", "rating: {options: [{id: x, labels: {en: a}}]}\nbridge:\n", "rating.opt"),
        ("webchat:\n", "webchat:\n  robot: {enabled: maybe, mode: first}\n", "webchat.robot.en"),
        ("webchat:\n", "webchat:\n  login: {type: x}\n  accounts: {}\n", "webchat.login.type"),
        ("webchat:\n  base_url: https://crm.example.org/webchat\n", "", "webchat"),
    ],
)
def test_rules_skip_invalid_values(tmp_path: Path, old: str, new: str, path: str) -> None:
    """Each mistake is reported once, and no rule assumes a default in its place."""
    (said,) = problems(tmp_path, edited(old, new))
    assert f": {path}" in said


def test_further_checks_get_lines_too(tmp_path: Path) -> None:
    def check(_config: Config) -> Iterator[Problem]:
        yield Problem(("webchat", "base_url"), "is not to my taste")

    path = tmp_path / "config.yaml"
    path.write_text(SMALLEST)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, {}, [check])
    assert str(caught.value) == "config.yaml line 5: webchat.base_url: is not to my taste"


REFUSED = [
    (
        "webchat:\n",
        "webchat:\n  robot: {enabled: true}\n",
        "robot.mode: must be command, first or when_no_agent if robot.enabled is true, else off",
    ),
    (
        "webchat:\n",
        "webchat:\n  robot: {mode: first}\n",
        "robot.mode: must be command, first or when_no_agent if robot.enabled is true, else off",
    ),
    (
        "bridge:\n",
        "rating:\n  options: [{id: 1, labels: {en: a}}, {id: 1, labels: {en: b}}]\nbridge:\n",
        "rating.options[1].id: must be unique",
    ),
    (
        "bridge:\n",
        "bridge:\n  encryption: {allow: false, default: true}\n",
        "bridge.encryption.default: needs bridge.encryption.allow: true",
    ),
    (
        "bridge:\n",
        "bridge:\n  encryption: {allow: false, require: true}\n",
        "bridge.encryption.require: needs bridge.encryption.allow: true",
    ),
    (
        "webchat:\n  base_url: https://crm.example.org/webchat\n",
        "webchat:\n  - base_url: https://a.test/w\n  - base_url: https://b.test/w\n",
        "line 6: webchat[1]: only one server is possible here: give each call centre an entry",
    ),
    (
        "default_queue: 1",
        "default_queue: 2",
        "line 8: default_queue: must be the id of a queue (1)",
    ),
    ("Sales}", "Sales}\n  - {id: 1, name: B}", "queues[1].id: is also the id of queues[0]"),
    (
        "Sales}",
        "Sales}\n  - {id: 2, name: sales}",
        'the name or alias "sales" is also that of queues[0]',
    ),
    ("Sales}", 'Sales, aliases: ["2"]}', 'the name or alias "2" would be read as a queue id'),
    (
        '"*": customer',
        '"*": customer, "@ada": admin, "@bot*": ignore',
        'bridge.permissions."@ada": is not a user id: the server is missing',
    ),
    ('"*": customer', '"*": none', "bridge.permissions: lets nobody use the bridge"),
    (
        '"*": customer',
        '"exmaple.org": customer',
        "line 10: bridge.permissions: serves no user of homeserver.domain (example.org): add",
    ),
    (
        '"*": customer',
        '"*": customer, "@*:example.org": none',
        'to serve only users of other servers, "example.org": none',
    ),
    (
        "bridge:\n",
        "appservice: {as_token: same, hs_token: same}\nbridge:\n",
        "appservice.hs_token: must differ from as_token",
    ),
    ("bridge:\n", "retention: {rows: 1h}\nbridge:\n", "must not be shorter than retention.bodies"),
    (
        "bridge:\n",
        f"provisioning: {{secret: {'s' * 31}}}\nbridge:\n",
        "provisioning.secret: must have 32 characters or more",
    ),
    (
        "bridge:\n",
        f"appservice: {{hs_token: {'s' * 32}}}\nprovisioning: {{secret: {'s' * 32}}}\nbridge:\n",
        "provisioning.secret: must differ from the tokens",
    ),
    (
        "bridge:\n",
        "bridge:\n  callback: {retry_last: 1m}\n",
        "bridge.callback.retry_last: must not be shorter than retry_first",
    ),
    ("bridge:\n", "metrics: {port: 29340}\nbridge:\n", "must differ from appservice.port"),
    (
        "bridge:\n",
        "console: {enabled: true, port: 8000}\nbridge:\n",
        "must differ from metrics.port",
    ),
    ("bridge:\n", "console: {public_url: chat.example.org}\nbridge:\n", "must be a URL such as"),
    (
        "webchat:\n",
        "webchat:\n  robot: {km_base_url: kb.example.org}\n",
        "webchat.robot.km_base_url: must be a URL such as",
    ),
    (
        "webchat:\n",
        "webchat:\n  login_rate: {per_seconds: .inf}\n",
        "webchat.login_rate.per_seconds: must be a finite number",
    ),
    (
        "webchat:\n",
        'webchat:\n  accounts: {"*": {name: n}}\n',
        "webchat.accounts: needs webchat.login.type: password",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_refused_combinations(tmp_path: Path, old: str, new: str, said: str) -> None:
    all_said = problems(tmp_path, edited(old, new))
    assert len(all_said) == 1, all_said
    assert said in all_said[0]
    assert "config.yaml line " in all_said[0]


def test_a_queue_may_be_an_alias_of_itself(tmp_path: Path) -> None:
    assert problems(tmp_path, edited("Sales}", 'Sales, aliases: [sales, "1"]}')) == []


@pytest.mark.parametrize("dialect", ["auto", "2016-11", "2016", "2019", '"2019"', "dual"])
def test_every_dialect_may_be_named(tmp_path: Path, dialect: str) -> None:
    changed = edited("webchat:\n", f"webchat:\n  dialect: {dialect}\n")
    assert problems(tmp_path, changed) == []


def test_metrics_that_are_off_need_no_port(tmp_path: Path) -> None:
    assert problems(tmp_path, SMALLEST + "metrics: {enabled: false, port: 29340}\n") == []


@pytest.mark.parametrize("nobody", ["none", "ignore"])
def test_serving_only_other_servers_is_possible(tmp_path: Path, nobody: str) -> None:
    rules = f'"*": customer, "@*:example.org": none, "example.org": {nobody}'
    assert problems(tmp_path, edited('"*": customer', rules)) == []
