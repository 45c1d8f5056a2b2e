"""The files of a simulation: what customers uploaded and what agents send, on disk until the stop.

They are kept under numbers, so no name that a client chooses can leave the directory; the address
carries the name for the eye, as a real server's does.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

from bridge.simulator.outgoing import Wire

UrlStyle = Literal["context", "root", "bare", "absolute"]


class TooLargeError(Exception):
    """A file is longer than the limit; it was not kept."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """One file that can be fetched."""

    number: int
    name: str
    size: int
    """Bytes."""
    sha256: str
    login: str
    """Whose upload it is; empty for an agent's file."""
    path: Path


class Shelf:
    """Keeps files in a directory and makes their addresses.

    Args:
        directory: exists, is empty, and is removed by whoever made it.
        base_url: absolute address of the context path.
        context: the context path, maybe empty.
    """

    def __init__(self, directory: Path, base_url: str, context: str) -> None:
        self._directory = directory
        self._base_url = base_url
        self._context = context
        self._files: dict[int, Hosted] = {}
        self._last = 0

    async def keep(self, name: str, chunks: AsyncIterator[bytes], login: str, limit: int) -> Hosted:
        """Store an upload as it comes.

        Raises:
            TooLargeError: it has more than `limit` bytes; all of it was read all the same.
        """
        number = self._number()
        path = self._directory / str(number)
        digest, size = hashlib.sha256(), 0
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size <= limit:
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if size > limit:
            path.unlink()
            raise TooLargeError(f"the file is longer than {limit} bytes")
        return self._shelve(Hosted(number, name, size, digest.hexdigest(), login, path))

    def put(self, name: str, body: bytes) -> Hosted:
        """Store an agent's file, which a script handed over whole."""
        number = self._number()
        path = self._directory / str(number)
        path.write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        return self._shelve(Hosted(number, safe_name(name), len(body), digest, "", path))

    def find(self, number: int, name: str) -> Hosted | None:
        """The file behind an address."""
        file = self._files.get(number)
        return file if file is not None and file.name == name else None

    def path(self, file: Hosted) -> str:
        """What identifies it at the desk: `number/name`."""
        return f"{file.number}/{file.name}"

    def url(self, file: Hosted, style: UrlStyle) -> str:
        """Its address as the server writes it (reference 3.4)."""
        path = f"up/{file.number}/{quote(file.name, safe='')}"
        match style:
            case "context":
                return f"{self._context}/{path}"
            case "root":
                return f"/{path}"
            case "bare":
                return path
            case "absolute":
                return f"{self._base_url}/{path}"

    def uploads(self, style: UrlStyle) -> list[Wire]:
        """What customers uploaded, for scripts."""
        return [
            {
                "login": file.login,
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "url": self.url(file, style),
                "address": self.url(file, "absolute"),
            }
            for file in self._files.values()
            if file.login
        ]

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _shelve(self, file: Hosted) -> Hosted:
        self._files[file.number] = file
        return file


def safe_name(name: str) -> str:
    """The last part of a client's file name without control characters; never empty."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(character for character in last if character.isprintable())
    return kept if kept.strip(". ") else "file"


def extension(name: str) -> str:
    """Lower case, without the dot; empty when there is none."""
    return PurePosixPath(name).suffix.lstrip(".").lower()


def media_type(name: str) -> str:
    """The Content-Type that a file's name suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
