"""What is learnt about a server, and what survives a restart."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from bridge.link.settings import LEAST_FRAME, TOMCAT_LIMIT, UNANSWERED_BEATS, Feature, Learnt
from bridge.rooms.store import StoreError
from bridge.webchat.codes import Dialect
from tests.unit.link.rig import Facts, LoopClock, eventually, settings_for

URL = "http://crm.example.org/webchat"


class FlakyFacts(Facts):
    """A store that is down for the first `failures` calls."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def fact(self, name: str) -> str | None:
        self._fail()
        return await super().fact(name)

    async def save_fact(self, name: str, value: str) -> None:
        self._fail()
        await super().save_fact(name, value)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("down")


class NoWaiting(LoopClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def learnt(facts: Facts | None = None, url: str = URL, **changes: object) -> Learnt:
    return Learnt(settings_for(url, **changes), facts or Facts(), NoWaiting())


async def again(facts: Facts, url: str = URL, **changes: object) -> Learnt:
    """Load the facts in another run of the bridge."""
    later = learnt(facts, url, **changes)
    await later.load()
    return later


def beats(server: Learnt) -> bool:
    return server.has(Feature.HEARTBEAT)


def types(server: Learnt) -> bool:
    return server.has(Feature.TYPING)


# --- dialect ------------------------------------------------------------------------------------


def test_auto_begins_with_the_keys_of_both_dialects() -> None:
    server = learnt()
    assert (server.keys, server.known) == (Dialect.DUAL, False)
    assert not beats(server)
    assert not types(server)


@pytest.mark.asyncio
async def test_later_push_proves_the_dialect_of_this_server() -> None:
    facts = Facts()
    server = learnt(facts)
    server.saw_later()
    server.saw_later()
    assert (server.keys, server.known, beats(server), types(server)) == (
        Dialect.Y2019,
        True,
        True,
        True,
    )
    assert facts.kept == {}, "nobody waits for the store"
    assert await server.save()
    assert facts.kept == {f"dialect {URL}/tpi": "2019"}
    restarted = await again(facts)
    assert (restarted.keys, restarted.known, beats(restarted)) == (Dialect.Y2019, True, True)
    elsewhere = await again(facts, "http://other.example.org/webchat")
    assert not elsewhere.known


@pytest.mark.asyncio
@pytest.mark.parametrize("keys", [Dialect.Y2016, Dialect.Y2019])
async def test_keys_accepted_after_a_refusal_outweigh_the_revision(keys: Dialect) -> None:
    facts = Facts()
    server = learnt(facts)
    server.took(keys, after_refusal=True)
    server.took(keys, after_refusal=True)
    server.saw_later()
    assert (server.keys, server.known, beats(server)) == (keys, True, True)
    await server.save()
    restarted = await again(facts)
    assert (restarted.keys, restarted.known, beats(restarted)) == (keys, True, True)


@pytest.mark.asyncio
async def test_a_server_that_takes_the_later_keys_is_a_later_server() -> None:
    facts = Facts()
    server = learnt(facts)
    server.took(Dialect.Y2019, after_refusal=True)
    assert beats(server)
    await server.save()
    assert beats(await again(facts))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wanted", "beating", "typing"),
    [(Dialect.Y2016, False, False), (Dialect.Y2019, True, True), (Dialect.DUAL, False, True)],
)
async def test_configured_dialect_is_not_overruled(
    wanted: Dialect, beating: bool, typing: bool
) -> None:
    facts = Facts()
    learning = learnt(facts)
    learning.took(Dialect.Y2016 if wanted is Dialect.Y2019 else Dialect.Y2019, after_refusal=True)
    await learning.save()
    kept = dict(facts.kept)
    server = await again(facts, dialect=wanted)
    assert (server.keys, server.known) == (wanted, True)
    assert (beats(server), types(server)) == (beating, typing)
    server.saw_later()
    assert server.keys is wanted
    assert beats(server) is (wanted is not Dialect.Y2016), "a heartbeat waits for proof"
    await server.save()
    assert facts.kept == kept, "facts are for auto"


def test_configured_dialect_that_the_server_refuses_is_logged() -> None:
    server = learnt(dialect=Dialect.Y2019)
    with structlog.testing.capture_logs() as logs:
        server.took(Dialect.Y2016, after_refusal=True)
        server.took(Dialect.Y2016, after_refusal=True)
    assert server.keys is Dialect.Y2016, "messages go on for now"
    assert [(entry["log_level"], entry["takes"]) for entry in logs] == [("warning", "2016")]


@pytest.mark.asyncio
async def test_keys_that_the_server_is_known_to_read() -> None:
    facts = Facts()
    server = learnt(facts)
    server.took(Dialect.DUAL, after_refusal=False)
    assert [keys in server.read for keys in Dialect] == [False, False, False, True]
    assert (server.keys, server.known) == (Dialect.DUAL, False), "that does not tell which"
    server.saw_later()
    assert [keys in server.read for keys in Dialect] == [False, False, True, False]
    await server.save()
    assert [keys in (await again(facts)).read for keys in Dialect] == [False, False, True, False]
    server.took(Dialect.Y2016, after_refusal=True)
    server.saw_later()
    assert Dialect.Y2016 in server.read
    wrong = learnt(dialect=Dialect.Y2019)
    assert Dialect.Y2019 not in wrong.read, "an operator may err"


@pytest.mark.asyncio
async def test_a_server_may_be_replaced() -> None:
    """What the old server accepted says nothing of the new one, in this run or the next."""
    facts = Facts()
    server = learnt(facts)
    server.took(Dialect.Y2016, after_refusal=True)
    await server.save()
    server.saw_later()
    for one in (server, await again(facts)):
        assert (one.keys, (Dialect.Y2016 in one.read)) == (Dialect.Y2016, False)
        one.took(Dialect.Y2019, after_refusal=True)
        assert (one.keys, (Dialect.Y2019 in one.read)) == (Dialect.Y2019, True)


# --- features -----------------------------------------------------------------------------------


def test_a_feature_that_is_missing_stays_off() -> None:
    server = learnt(dialect=Dialect.Y2019)
    for feature in Feature:
        assert server.has(feature)
        server.has_not(feature)
        server.has_not(feature)
        assert not server.has(feature)


def test_heartbeats_that_nobody_ever_answers_are_given_up() -> None:
    server = learnt(dialect=Dialect.Y2019)
    for _ in range(UNANSWERED_BEATS):
        assert beats(server)
        server.beat(answered=False)
    assert not beats(server)


def test_one_answer_shows_that_heartbeats_are_known() -> None:
    server = learnt(dialect=Dialect.Y2019)
    server.beat(answered=True)
    for _ in range(10 * UNANSWERED_BEATS):
        server.beat(answered=False)
    assert beats(server)


# --- the longest frame ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "sizes", "longest"),
    [
        (100_000, [9000], TOMCAT_LIMIT),
        (100_000, [60_000, 8000], 4000),
        (8000, [7000], 3500),
        (8000, [7000, 7000], 3500),
        (8000, [1500], LEAST_FRAME),
        (2000, [9000], 2000),
    ],
)
def test_a_1009_lowers_the_limit(most: int, sizes: list[int], longest: int) -> None:
    server = learnt(max_frame_bytes=most)
    for size in sizes:
        server.too_long(size)
    assert server.longest_frame == longest


@pytest.mark.asyncio
async def test_the_limit_is_remembered_until_the_operator_sets_another() -> None:
    facts = Facts()
    server = learnt(facts, max_frame_bytes=100_000)
    server.too_long(9000)
    await server.save()
    assert (await again(facts, max_frame_bytes=100_000)).longest_frame == TOMCAT_LIMIT
    assert (await again(facts, max_frame_bytes=50_000)).longest_frame == 50_000
    facts.kept[f"longest_frame {URL}/tpi"] = "nonsense"
    assert (await again(facts, max_frame_bytes=100_000)).longest_frame == 100_000


def test_maximum_length_of_texts_and_voice_clips() -> None:
    server = learnt(max_frame_bytes=8000)
    assert server.longest_text == 3700, "twice in a frame, until it is known in which keys"
    assert server.longest_clip == 7400, "a voice has the same keys in both"
    server.saw_later()
    assert server.longest_text == 7400
    assert learnt(max_frame_bytes=8000, dialect=Dialect.Y2016).longest_text == 7400
    assert learnt(max_frame_bytes=8000, dialect=Dialect.DUAL).longest_text == 3700
    assert learnt(max_frame_bytes=600).longest_text == 200
    first = learnt(max_frame_bytes=8000, dialect=Dialect.Y2016_11)
    assert (first.longest_text, first.longest_clip) == (7400, 0), "it takes the address of a voice"


def test_which_servers_take_the_address_of_a_voice() -> None:
    """Those of the guide of 2019-10-14 and of the first guides, until one is refused."""
    takes = {one: learnt(dialect=one).has(Feature.LONG_VOICE) for one in (None, *Dialect)}
    assert [one for one, has in takes.items() if has] == [Dialect.Y2016_11, Dialect.Y2019]
    server = learnt()
    server.saw_later()
    assert server.has(Feature.LONG_VOICE)
    server.has_not(Feature.LONG_VOICE)
    assert not server.has(Feature.LONG_VOICE)


# --- the store -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_without_a_store_things_are_learnt_anew() -> None:
    server = learnt(FlakyFacts(1))
    await server.load()
    assert not server.known
    server.saw_later()
    assert server.known


@pytest.mark.asyncio
async def test_facts_are_stored_in_the_background_as_soon_as_the_store_is_back() -> None:
    facts = FlakyFacts(3)
    server = learnt(facts)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        server.saw_later()
        await eventually(lambda: len(facts.kept) == 1)
        server.too_long(7000)
        await eventually(lambda: len(facts.kept) == 2)
        running.cancel()
    assert facts.failures == 0


@pytest.mark.asyncio
async def test_facts_learnt_during_a_save_are_saved_too() -> None:
    class Slow(Facts):
        async def save_fact(self, name: str, value: str) -> None:
            if not self.kept:
                server.too_long(4000)
            await super().save_fact(name, value)

    facts = Slow()
    server = learnt(facts)
    server.too_long(7000)
    assert await server.save()
    assert facts.kept == {f"longest_frame {URL}/tpi": "3500/8000"}
    await server.save()
    assert facts.kept == {f"longest_frame {URL}/tpi": "2000/8000"}
