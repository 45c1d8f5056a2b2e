from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import AsyncIterator

import pytest
from nio.crypto import decrypt_attachment, encrypt_attachment

from bridge.conversation.model import FileKey
from bridge.matrix.crypto.wire import decrypted, encrypted, file_field, read_file_field
from bridge.rooms.blobs import IN_MEMORY
from bridge.rooms.ports import Refused, TooBig, Unavailable

MXC = "mxc://here/file"


async def pieces(data: bytes, size: int = 70_001) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 65_536, IN_MEMORY + 12_345])
async def test_encryption_and_decryption_agree_with_matrix_nio(size: int) -> None:
    data = bytes(number * 7 % 251 for number in range(size))
    async with encrypted(pieces(data)) as (sealed, key):
        ciphertext = await collected(sealed.chunks())
        assert ciphertext == await collected(sealed.chunks())
        assert sealed.size == len(ciphertext) == size
    assert decrypt_attachment(ciphertext, key.key, key.sha256, key.iv) == data
    async with decrypted(pieces(ciphertext), key) as (chunks, plain_size):
        assert plain_size == size
        assert await collected(chunks) == data

    theirs, keys = encrypt_attachment(data)
    read = read_file_field(keys | {"url": MXC})
    assert read is not None
    assert read[0] == MXC
    async with decrypted(pieces(theirs), read[1]) as (chunks, _):
        assert await collected(chunks) == data


@pytest.mark.asyncio
async def test_changed_file_is_refused_before_its_first_byte() -> None:
    async with encrypted(pieces(b"x" * 200_000)) as (sealed, key):
        ciphertext = await collected(sealed.chunks())
    changed = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    for wrong in (changed, ciphertext[:-1], b""):
        with pytest.raises(Refused, match="M_BAD_FILE"):
            async with decrypted(pieces(wrong), key):
                pytest.fail("a changed file was opened")
    with pytest.raises(Refused, match="M_BAD_FILE"):
        async with decrypted(pieces(ciphertext), FileKey("?", key.iv, key.sha256)):
            pytest.fail("a file without a key was opened")


@pytest.mark.asyncio
async def test_full_disk_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError would count as a bug of the bridge, and the file would not be retried."""

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda max_size: Full())
    key = FileKey("A" * 43, "A" * 22, "A" * 43)
    for both_ways in (encrypted(pieces(b"x")), decrypted(pieces(b"x"), key)):
        with pytest.raises(Unavailable, match="no temporary file"):
            async with both_ways:
                pytest.fail("it was kept all the same")


@pytest.mark.asyncio
async def test_errors_of_the_source_are_passed_on() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise TooBig("more than allowed")

    with pytest.raises(TooBig):
        async with encrypted(broken()):
            pytest.fail("half a file was encrypted")


@pytest.mark.asyncio
async def test_every_file_has_a_key_of_its_own() -> None:
    async with encrypted(pieces(b"x")) as (_, one), encrypted(pieces(b"x")) as (_, two):
        assert one.key != two.key
        assert one.iv != two.iv
        written = file_field(MXC, one)
        assert read_file_field(written) == (MXC, one)


GOOD = file_field(MXC, FileKey("A" * 43, "A" * 22, "A" * 43))


@pytest.mark.parametrize(
    "change",
    [
        {"v": "v1"},
        {"key": None},
        {"key": {"alg": "A128CTR", "k": "A" * 43}},
        {"key": {"alg": "A256CTR", "k": "AAAA"}},
        {"key": {"alg": "A256CTR", "k": "!"}},
        {"iv": "AAAA"},
        {"hashes": {}},
        {"hashes": {"sha256": 5}},
    ],
)
def test_malformed_file_field_is_refused(change: dict[str, object]) -> None:
    assert read_file_field(GOOD) is not None
    assert read_file_field(GOOD | change) is None
