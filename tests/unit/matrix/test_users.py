from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ids import AgentId, QueueId
from bridge.matrix.users import NameTaken, OurUsers, escape

OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1), QueueId(12)))


def queue_regex(users: OurUsers) -> str:
    """Return the regex of the registration's namespace."""
    return users.queue_users.regex


ANY_TEXT = st.text(st.characters(codec=None), max_size=120)


@pytest.mark.parametrize(
    ("agent", "user"),
    [
        ("a01", "@webchat_a01:example.org"),
        ("Bob_1", "@webchat__bob__1:example.org"),
        ("AZaz", "@webchat__a_zaz:example.org"),
        ("a=b", "@webchat_a=3db:example.org"),
        ("李", "@webchat_=e6=9d=8e:example.org"),
        ("a b@c:d", "@webchat_a=20b=40c=3ad:example.org"),
        ("", "@webchat_:example.org"),
        ("queue_1", "@webchat_queue__1:example.org"),
    ],
)
def test_agent_becomes_ghost(agent: str, user: str) -> None:
    assert OURS.ghost(AgentId(agent)) == user


@given(ANY_TEXT, ANY_TEXT)
def test_different_agents_have_different_ghosts(one: str, other: str) -> None:
    assert (OURS.ghost(AgentId(one)) == OURS.ghost(AgentId(other))) == (one == other)


@given(st.text(alphabet="aA_=1q", max_size=6), st.text(alphabet="aA_=1q", max_size=6))
def test_similar_agents_have_different_ghosts(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(st.text(st.characters(codec=None), max_size=400))
def test_every_ghost_is_a_valid_user_id_of_the_ghost_namespace(agent: str) -> None:
    ghost = OURS.ghost(AgentId(agent))
    assert len(ghost.encode()) <= 255
    assert re.fullmatch(r"@[a-z0-9._=/+-]+:example\.org", ghost)
    assert OURS.is_ours(ghost)
    assert not OURS.is_host(ghost)
    assert re.match(OURS.ghosts.regex, ghost)
    assert not re.match(queue_regex(OURS), ghost)


@pytest.mark.parametrize(
    ("user", "ours", "host"),
    [
        ("@webchatbot:example.org", True, True),
        ("@webchat_queue_1:example.org", True, True),
        ("@webchat_queue_7:example.org", True, False),
        ("@webchat_a01:example.org", True, False),
        ("@webchat_a01:evil.org", False, False),
        ("@webchat_a01:example.org.evil.org", False, False),
        ("@webchatbot:example.org\n", False, False),
        ("@alice:example.org", False, False),
        ("webchatbot", False, False),
        ("", False, False),
    ],
)
def test_bridge_users_and_hosts_are_recognised(user: str, ours: bool, host: bool) -> None:
    assert OURS.is_ours(user) is ours
    assert OURS.is_host(user) is host


def test_queue_users() -> None:
    assert OURS.queue_of("@webchat_queue_12:example.org") == 12
    assert OURS.queue_of("@webchat_queue_7:example.org") is None
    # Synapse lists no user of an exclusive namespace, so the ghosts' must exclude queue users.
    assert not re.match(OURS.ghosts.regex, "@webchat_queue_7:example.org")


@pytest.mark.parametrize(
    ("bot", "template"),
    [
        ("webchatbot", "webchat_"),
        ("webchatbot", "web{name}_{agent}"),
        ("webchatbot", "Webchat_{agent}"),
        ("webchatbot", "webchat{agent}"),
        ("webchatbot", "{agent}"),
        ("webchatbot", "webchat_queue_{agent}"),
    ],
)
def test_ambiguous_agent_template_is_refused(bot: str, template: str) -> None:
    with pytest.raises(ValueError, match="username_template"):
        OurUsers("example.org", bot, template, (QueueId(1),))


def test_queue_users_of_another_bridge() -> None:
    second = OurUsers("a", "crm2bot", "crm2_{agent}", (QueueId(1),), "crm2_queue._{queue}+x")
    assert second.queue_user(QueueId(1)) == "@crm2_queue._1+x:a"
    assert second.queue_of("@crm2_queue._1+x:a") == 1
    assert second.is_ours("@crm2_queue._77+x:a")
    assert not second.is_ours("@webchat_queue_1:a")
    assert re.match(queue_regex(second), "@crm2_queue._1+x:a")
    assert not re.match(queue_regex(second), "@crm2_queueX_1+x:a")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("webchat_queue_", "must contain {queue} once"),
        ("Webchat_{queue}", "may contain only"),
        ("bot{queue}", "would give a queue the name @bot7:a"),
    ],
)
def test_invalid_queue_template_is_refused(template: str, said: str) -> None:
    with pytest.raises(ValueError, match="^queue_username_template .*" + re.escape(said)):
        OurUsers("a", "bot7", "webchat_{agent}", (QueueId(1),), template)


@pytest.mark.parametrize(
    ("template", "first"), [("wc_q{queue}", "@wc_q1:"), ("wc_={queue}", "@wc_=10:")]
)
def test_agents_and_queues_must_not_share_names(template: str, first: str) -> None:
    with pytest.raises(ValueError, match=f"^username_template would give an agent .* {first}"):
        OurUsers("a", "bot", "wc_{agent}", (), template)


# --- several call centres -------------------------------------------------------------------------


def named(enterprise: str, agents: str, queues: str, bot: str = "webchatbot") -> OurUsers:
    return OurUsers("a", bot, agents, (QueueId(1),), queues, enterprise=enterprise)


ACME = named("acme", "webchat_{agent}", "webchat_queue_{queue}")


def test_the_same_agent_and_queue_in_two_call_centres() -> None:
    both = OurUsers.several([ACME, named("best", "best_{agent}", "bestq_{queue}")], "webchatbot")
    acme, best = both["acme"], both["best"]
    mei = AgentId("mei")
    assert (acme.ghost(mei), best.ghost(mei)) == ("@webchat_mei:a", "@best_mei:a")
    assert (acme.queue_of("@webchat_queue_1:a"), best.queue_of("@webchat_queue_1:a")) == (1, None)
    for user, of in (
        ("@webchat_mei:a", ("acme",)),
        ("@best_mei:a", ("best",)),
        ("@bestq_1:a", ("best",)),
        ("@webchatbot:a", ("acme", "best")),
        ("@ada:a", ()),
    ):
        assert acme.enterprises_of(user) == best.enterprises_of(user) == of
        assert acme.is_ours(user) is best.is_ours(user) is bool(of)
    assert acme.hosts == ("@webchatbot:a", "@webchat_queue_1:a", "@bestq_1:a")
    assert {regex for regex, only in acme.namespaces if only} == {
        acme.ghosts.regex,
        best.ghosts.regex,
    }
    open_ones = {regex for regex, only in best.namespaces if not only}
    assert open_ones == {queue_regex(acme), queue_regex(best), "^@webchatbot:a$"}


def test_call_centres_with_bots_of_their_own() -> None:
    own = [
        named("acme", "a_{agent}", "aq_{queue}", "abot"),
        named("best", "b_{agent}", "bq_{queue}", "bbot"),
    ]
    acme = OurUsers.several(own, "webchatbot")["acme"]
    assert (acme.bot, acme.main) == ("@abot:a", "@webchatbot:a")
    assert acme.hosts[:3] == ("@webchatbot:a", "@abot:a", "@bbot:a")
    assert acme.enterprises_of("@bbot:a") == ("best",)
    assert acme.enterprises_of("@webchatbot:a") == ("acme", "best")


@pytest.mark.parametrize(
    ("agents", "queues", "bot", "said"),
    [
        (
            "webchat_{agent}",
            "bq_{queue}",
            "webchatbot",
            "username_template would give agents names",
        ),
        (
            "webchat_b_{agent}",
            "bq_{queue}",
            "webchatbot",
            "username_template would give agents names",
        ),
        ("{agent}_b", "bq_{queue}", "webchatbot", "username_template would give"),
        (
            "b_{agent}",
            "webchat_queue_{queue}",
            "webchatbot",
            "queue_username_template would give queues",
        ),
        ("b_{agent}", "webchat_queue_7{queue}", "webchatbot", "queue_username_template would give"),
        ("b_{agent}", "webchat_b{queue}", "webchatbot", "username_template would give an agent"),
        ("b_{agent}", "bq_{queue}", "webchat_bot", "username_template would give an agent"),
        (
            "b_{agent}",
            "bq_{queue}",
            "webchat_queue_5",
            "queue_username_template would give a queue",
        ),
    ],
)
def test_names_that_two_call_centres_could_share_are_refused(
    agents: str, queues: str, bot: str, said: str
) -> None:
    with pytest.raises(NameTaken, match=f"^{said}"):
        OurUsers.several([ACME, named("best", agents, queues, bot)], "webchatbot")


def test_templates_with_different_suffixes_share_no_name() -> None:
    best = named("best", "webchat_{agent}.b.", "webchat_queue_{queue}.b.")
    with pytest.raises(NameTaken):  # "mei.b." may be an agent of acme's
        OurUsers.several([ACME, best], "webchatbot")
    acme = named("acme", "webchat_{agent}.a.", "webchat_queue_{queue}.a.")
    assert OurUsers.several([acme, best], "webchatbot")["best"].ghost(AgentId("x")) == (
        "@webchat_x.b.:a"
    )
