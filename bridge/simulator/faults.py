"""Fault injection: frames are lost, doubled, reordered, delayed or refused; HTTP requests fail.

Faults are used up in list order, so the same script meets the same faults each time. Pure: `web`
asks the plan at each frame and request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from bridge.simulator.state import Send


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One kind of fault, `count` times; docs/simulator.md says what each kind does."""

    fault: Literal["drop", "double", "reorder", "delay", "answer", "ignore", "cut", "http", "hang"]
    count: int = 1
    login: str = ""
    """Customer whom the fault hits; empty for all. `http` and `hang` ignore it."""
    type: int | None = None
    """Wire type of the frame or command that the fault hits; None for every type."""
    result: int | None = None
    carried_out: bool = True
    code: int = 1006
    delay_ms: int = 0
    path: Literal["tpi", "tpiu", "robotSearch", "cws", "up", "any"] = "any"
    status: int = 503

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")
        if self.fault == "answer" and self.result is None:
            raise ValueError("answer needs a result")
        if self.fault == "delay" and self.delay_ms < 1:
            raise ValueError("delay needs delay_ms, at least 1")
        if not 1000 <= self.code <= 4999:
            raise ValueError("code must be a WebSocket close code, 1000 to 4999")
        if self.fault == "http" and not 400 <= self.status <= 599:
            raise ValueError("status must be an HTTP error, 400 to 599")


class FaultPlan:
    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults: list[Fault] = list(faults)
        self._held: dict[str, list[Send]] = {}
        """Frames held back by `reorder`, per login, until the next frame to that customer."""

    def replace(self, faults: Iterable[Fault]) -> None:
        """Replace the planned faults; frames held back by `reorder` stay held back."""
        self._faults = list(faults)

    def on_command(self, login: str, frame: object) -> Fault | None:
        """Return the fault for a command that just arrived, if any; uses up one count."""
        return self._on_frame(("answer", "ignore", "cut"), login, frame)

    def on_http(self, path: str) -> Fault | None:
        """Return the fault for an HTTP request, if any; uses up one count."""
        return self._take(("http", "hang"), lambda fault: fault.path in (path, "any"))

    def on_send(self, send: Send) -> list[Send]:
        """Return the frames that really go out for `send`; uses up one count if a fault applies."""
        fault = self._on_frame(("drop", "double", "reorder"), send.login, send.frame)
        kind = fault.fault if fault is not None else ""
        if kind == "reorder":
            self._held.setdefault(send.login, []).append(send)
        if kind in ("reorder", "drop"):
            return []
        copies = 2 if kind == "double" else 1
        return [send] * copies + self._held.pop(send.login, [])

    def delay(self, send: Send) -> float:
        """Return the extra delay of a frame in seconds; uses up one count if there is any."""
        fault = self._on_frame(("delay",), send.login, send.frame)
        return 0 if fault is None else fault.delay_ms / 1000

    def link_lost(self, login: str) -> None:
        """Drop the frames held back for a customer whose socket is gone."""
        self._held.pop(login, None)

    def describe(self) -> list[object]:
        """Return the remaining faults as the operation `set` takes them."""
        return [msgspec.to_builtins(fault) for fault in self._faults]

    def _on_frame(self, kinds: tuple[str, ...], login: str, frame: object) -> Fault | None:
        known = (None, frame.get("type") if isinstance(frame, dict) else None)
        return self._take(kinds, lambda one: one.login in ("", login) and one.type in known)

    def _take(self, kinds: tuple[str, ...], meant: Callable[[Fault], bool]) -> Fault | None:
        for fault in self._faults:
            if fault.fault in kinds and meant(fault):
                fault.count -= 1
                if fault.count == 0:
                    self._faults.remove(fault)
                return fault
        return None
