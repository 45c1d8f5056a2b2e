"""What the doctor says of each state of the keys; the states themselves are made on a real Synapse
in tests/integration/test_encryption_doctor.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from bridge.app.settings import encryption_secret_of
from bridge.cli.doctor import check_encryption, judge, migrated_store
from bridge.cli.findings import Finding, Findings, Verdict
from bridge.config.model import Config
from bridge.ids import UserId
from bridge.matrix.crypto.devices import EPOCH, MARKS, Epoch, Fit, Inspected, KeysOf, Marks
from bridge.matrix.crypto.vault import Sealer, Vault
from bridge.rooms.surroundings import SystemClock
from bridge.storage.migrate import SCHEMA_VERSION, Migration
from bridge.storage.sqlstore import open_store
from tests.unit.cli.doctor.installation import configured, serving, told

BOT, MEI = UserId("@webchatbot:example.org"), UserId("@webchat_mei:example.org")


def judged(*users: KeysOf, newest: bool = True) -> list[Finding]:
    findings = Findings()
    judge(findings, Inspected("WEBCHAT_A", newest, users))
    return findings.all


def test_all_well() -> None:
    keys, one_time = judged(KeysOf(BOT, Fit.GOOD, 41), KeysOf(MEI, Fit.GOOD, None))
    assert (keys.verdict, one_time.verdict) == (Verdict.PASS, Verdict.PASS)
    assert keys.detail == "2 users with the device WEBCHAT_A, cross-signed, same as the database"
    assert one_time.detail == "at least 41 left for each user"


def test_devices_to_be_replaced_are_no_fault() -> None:
    former = KeysOf(MEI, Fit.FORMER, None)
    keys, _ = judged(KeysOf(BOT, Fit.GOOD, 50), former)
    assert keys.verdict is Verdict.PASS
    assert keys.detail.startswith(
        "1 user with the device WEBCHAT_A, cross-signed, same as the database; 1 more"
    )
    gone, _ = judged(KeysOf(BOT, Fit.NO_DEVICE, 50), former)
    assert gone.detail == f"{BOT}: the device WEBCHAT_A has no keys on the homeserver"


def test_nobody_has_keys_before_the_first_start() -> None:
    (finding,) = judged()
    assert finding.verdict is Verdict.PASS
    assert finding.detail == "none yet: the bridge creates them when it starts"


@pytest.mark.parametrize(
    ("fit", "said", "fix"),
    [
        (Fit.NO_DEVICE, "WEBCHAT_A has no keys on the homeserver", "restart the bridge"),
        (Fit.NO_IDENTITY, "no cross-signing keys on the homeserver", "restart the bridge"),
        (Fit.UNSIGNED, "not cross-signed", "restart the bridge"),
        (Fit.FOREIGN_IDENTITY, "are not those of this database", "restore the newest database"),
        (Fit.FOREIGN_DEVICE, "WEBCHAT_A has other keys", "restore the newest database"),
    ],
)
def test_each_state_has_its_name_and_its_fix(fit: Fit, said: str, fix: str) -> None:
    finding, one_time = judged(KeysOf(BOT, fit, 50), KeysOf(MEI, Fit.GOOD, None))
    assert finding.verdict is Verdict.FAIL
    assert finding.detail.startswith(f"{BOT}: ")
    assert said in finding.detail
    assert finding.fix.startswith(fix) or fix in finding.fix
    assert "`matrix-webchat crypto reset`" in finding.fix
    assert one_time.verdict is Verdict.PASS


def test_many_users_are_counted() -> None:
    users = [KeysOf(UserId(f"@u{n}:x"), Fit.UNSIGNED, None) for n in range(8)]
    (finding,) = judged(*users)
    assert "@u4:x and 3 more: " in finding.detail


def test_older_copy_is_reported_once() -> None:
    """Its devices are about to be replaced, so missing ones are not reported too."""
    (finding,) = judged(KeysOf(BOT, Fit.NO_DEVICE, None), newest=False)
    assert "older copy" in finding.detail
    assert "new devices" in finding.fix
    _, foreign = judged(KeysOf(MEI, Fit.FOREIGN_IDENTITY, None), newest=False)
    assert str(MEI) in foreign.detail


def test_no_one_time_keys() -> None:
    _, finding = judged(KeysOf(BOT, Fit.GOOD, 0))
    assert finding.verdict is Verdict.FAIL
    assert finding.detail.startswith(f"{BOT}: none left")


async def examined(config: Config) -> Findings:
    findings = Findings()
    async with migrated_store(config) as store:
        await check_encryption(findings, config, store)
    return findings


async def fill(config: Config, secret: str) -> None:
    async with open_store(config.database.url.get_secret_value(), SystemClock()) as store:
        vault = Vault(store, Sealer(secret))
        rows = [vault.row(EPOCH, Epoch("WEBCHAT_A")), vault.row(MARKS, Marks(("a", "b")))]
        await vault.save(rows)


@pytest.mark.asyncio
async def test_encryption_that_is_off(tmp_path: Path) -> None:
    more = '  encryption: {allow: false}\ndatabase: {url: "sqlite:////nowhere/x.db"}'
    findings = await examined(configured(tmp_path, more=more))
    assert findings.all[0].detail == "bridge.encryption.allow is false"


@pytest.mark.asyncio
@pytest.mark.parametrize("keys", [{}, {BOT: {"usage": ["master"]}}])
async def test_a_new_database(tmp_path: Path, keys: dict[str, object]) -> None:
    """It is all right if the homeserver has no keys either; otherwise a database was lost."""

    async def query(_request: web.Request) -> web.Response:
        return web.json_response({"master_keys": keys})

    async with serving([web.post("/_matrix/client/v3/keys/query", query)]) as at:
        config = configured(tmp_path, homeserver=f"http://127.0.0.1:{at}")
        without = (await examined(config)).all
        async with open_store(config.database.url.get_secret_value(), SystemClock()):
            pass
        (finding,) = (await examined(config)).all
    assert without == [finding]
    if keys:
        assert finding.detail.startswith(f"{BOT}: the cross-signing keys on the homeserver are not")
        assert "crypto reset`; this database is new: start the bridge once" in finding.fix
    else:
        assert (finding.verdict, "no keys yet" in finding.detail) == (Verdict.SKIP, True)


@pytest.mark.asyncio
async def test_a_database_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold keys, so the doctor must not say that there are none."""

    async def last_step(_url: str, _clock: object) -> list[Migration]:
        return [Migration(SCHEMA_VERSION, "newest", "")]

    monkeypatch.setattr("bridge.cli.doctor.pending_migrations", last_step)
    findings = await examined(configured(tmp_path))
    assert told(findings) == ["SKIP encryption"]
    assert "its new schema" in findings.all[0].detail


@pytest.mark.asyncio
async def test_a_database_that_cannot_be_read(tmp_path: Path) -> None:
    config = configured(tmp_path)
    await asyncio.to_thread((tmp_path / "bridge.db").write_bytes, b"no database" * 1000)
    assert told(await examined(config)) == ["SKIP encryption"]


@pytest.mark.asyncio
async def test_database_sealed_with_another_secret(tmp_path: Path) -> None:
    config = configured(tmp_path)
    await fill(config, "the old one")
    (finding,) = (await examined(config)).all
    assert finding.verdict is Verdict.FAIL
    assert "sealed with another" in finding.detail
    assert finding.fix.startswith("restore the previous appservice.as_token")
    more = f'  encryption: {{pickle_key: "pppppppppppppppp"}}\ndatabase: {{url: "sqlite:///{tmp_path}/bridge.db"}}'
    (finding,) = (await examined(configured(tmp_path, more=more))).all
    assert finding.fix.startswith("restore the previous bridge.encryption.pickle_key")


@pytest.mark.asyncio
async def test_a_homeserver_that_does_not_answer(tmp_path: Path) -> None:
    config = configured(tmp_path)
    await fill(config, encryption_secret_of(config))
    (finding,) = (await examined(config)).all
    assert finding.verdict is Verdict.FAIL
    assert "cannot query the keys" in finding.detail


@pytest.mark.asyncio
async def test_mark_of_the_homeserver_is_compared(tmp_path: Path) -> None:
    async def mark(_request: web.Request) -> web.Response:
        return web.json_response({"mark": "newer"})

    async with serving([web.get("/_matrix/client/v3/user/{user}/account_data/{kind}", mark)]) as at:
        config = configured(tmp_path, homeserver=f"http://127.0.0.1:{at}")
        await fill(config, encryption_secret_of(config))
        (finding,) = (await examined(config)).all
    assert finding.what == "encryption, database"
