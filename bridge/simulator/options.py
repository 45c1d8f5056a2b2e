"""Options of a simulator, most of them changeable while it runs.

The defaults follow the guide of 2016, dialect 2019 the later guides (R2 to R4 of the protocol
reference, and R5 of 2019-10-14). Every other behaviour observed or reported of a WebChat server
(reference section 8) is a switch; a switch that is None follows the dialect.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from bridge.ids import AgentId, QueueId

FIXED_AT_START = frozenset({"context", "keep_frames", "keep_entries", "public_origin"})
"""Options that the control operation `set` refuses: routes and logs are built from them once."""
Positive = Annotated[int, msgspec.Meta(ge=1)]
_Amount = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Span = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class DeskAgent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person at the simulated desk, or its robot."""

    id: AgentId
    name: str = ""
    icon: str = "auto"
    """Sent unchanged; `auto` becomes the absolute URL of a generated picture."""
    comments: str = ""


class RatingChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One choice of the rating table in a 200."""

    id: int
    name: str


class SimulatorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All switches of the simulator, described in docs/simulator.md.

    Times in seconds, sizes in bytes, unless the name says otherwise. ValueErrors name the option.
    """

    # --- the desk -----------------------------------------------------------------------------
    script: Literal["hand", "accept", "echo", "refuse"] = "hand"
    agents: tuple[DeskAgent, ...] = (
        DeskAgent(id=AgentId("A00001"), name="Mei"),
        DeskAgent(id=AgentId("A00002"), name="Jun", comments="team lead"),
    )
    queues: tuple[int, ...] = ()
    queue_names: dict[str, str] = {}
    queue_timeout: _Seconds = 0
    open_hours: bool = True

    # --- the wire -----------------------------------------------------------------------------
    dialect: Literal["2016", "2019"] = "2016"
    revision: Literal["R2", "R3", "R4", "R5"] = "R5"
    strict: bool = False
    content: Literal["object", "string"] = "object"
    people: Literal["agents", "users", "both"] | None = None
    foreign_keys: Literal["refuse", "ignore"] = "ignore"
    wrong_keys: Literal[-14, -8, -17, -100, "blank", "shown"] = -14
    context: str = "/webchat"
    public_origin: str = ""
    request_id_in_reply: bool = False
    session_in_reply: bool = False
    permanent: bool = False
    continues: bool = False
    nested_status: bool = False
    place_words: str = ""
    ids_as_strings: bool = False
    zeros: bool = False
    omit_call_ids: bool = False
    omit_types: bool = False
    session_in_message_reply: bool = False
    original_in_refusal: bool = False
    heartbeat: Literal["refuse", "ok", "silent"] | None = None
    unknown_type: Literal[-12, -19] = -12
    videos: bool = False
    frame_limit: Positive = 8192
    close_echoed: bool = False
    change_notices: bool = False
    reply_delay_ms: _Amount = 0
    init_config: bool | None = None
    ratings: tuple[RatingChoice, ...] = (
        RatingChoice(id=1, name="满意"),
        RatingChoice(id=0, name="不满意"),
    )

    # --- missed pushes -------------------------------------------------------------------------
    missed_pushes: Literal["lost", "kept"] = "lost"
    resume_push: bool = False
    receipts: bool | None = None
    receipt_reply: bool = False
    resend_seconds: _Span = 3.0
    max_resends: _Amount = 5
    max_pending: Positive = 1000
    session_grace: _Seconds = 0

    # --- login --------------------------------------------------------------------------------
    accounts: dict[str, str] = {}
    client_id_in_login: bool | None = None
    sign_key: str = ""
    login_limit: _Amount = 10
    login_window: _Span = 60
    login_ban: _Seconds = 3600
    ban_covers: Literal["login", "everything"] = "login"
    token_lifetime: _Span = 86400
    new_login_kills_old: bool = True
    awkward_tokens: bool = False
    sticky_cookie: bool = False
    handshake_refusal: Literal["401", "close", "frame"] = "401"

    # --- history and files --------------------------------------------------------------------
    history: bool | None = None
    history_style: Literal["named", "rows"] = "named"
    running_history: Literal["told", "asked", "never"] = "told"
    history_behind: _Amount = 0
    upload_mode: Literal["raw", "multipart", "both"] = "raw"
    wrong_upload: int = -14
    upload_url: Literal["context", "root", "bare", "absolute"] = "context"
    allowed_extensions: tuple[str, ...] = ()
    max_upload: Positive = 50 * 1024 * 1024

    # --- the robot ------------------------------------------------------------------------------
    robot_queues: tuple[int, ...] = ()
    robot: DeskAgent = DeskAgent(id=AgentId("BOT007"), name="Helper")
    robot_type: Literal[0, 1, 2, 3] = 3
    robot_speaks: Literal[301, 210] = 301
    robot_started: bool = False
    robot_mode: bool = True
    robot_handover: Literal[204, 202] = 204
    robot_key: str = ""
    robot_answers: dict[str, str] = {}

    # --- sizes of logs ----------------------------------------------------------------------------
    keep_frames: Positive = 20_000
    keep_entries: Positive = 2_000
    keep_records: Positive = 10_000

    def __post_init__(self) -> None:
        if self.public_origin and not _is_origin(self.public_origin):
            raise ValueError("public_origin must be as in http://sim.example.org:8980, no path")
        if self.context and (not self.context.startswith("/") or self.context.endswith("/")):
            raise ValueError("context must be empty or start, and not end, with a slash")
        if not (self.wrong_upload <= 0 or 200 <= self.wrong_upload <= 599):
            raise ValueError("wrong_upload must be a result that refuses, or an HTTP status")
        if len({agent.id for agent in self.agents}) < len(self.agents):
            raise ValueError("agents must have different ids")
        if not all(agent.id for agent in (*self.agents, self.robot)):
            raise ValueError("agents must have an id")

    def changed(self, changes: Mapping[str, object]) -> SimulatorOptions:
        """Return a copy with changes; ValueError if one is unknown, wrong or fixed at the start."""
        if fixed := FIXED_AT_START & changes.keys():
            raise ValueError(f"{min(fixed)} cannot change while the simulator runs")
        return SimulatorOptions.read({**msgspec.to_builtins(self), **changes})

    @classmethod
    def read(cls, values: Mapping[str, object], *, strict: bool = True) -> SimulatorOptions:
        """Return options with these values, unless `strict` also numbers as text; ValueError, if
        possible with what would be right, if one is unknown or wrong.
        """
        names = cls.__struct_fields__
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                meant = f": did you mean {near[0]}?" if near else ""
                raise ValueError(f"there is no switch {name}{meant}")
        try:
            return msgspec.convert(values, cls, strict=strict)
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}{_remedy(str(error))}") from error

    # --- values derived from the switches ---------------------------------------------------------

    @property
    def later(self) -> bool:
        return self.dialect == "2019"

    @property
    def pulse(self) -> Literal["refuse", "ok", "silent"]:
        return self.heartbeat or ("ok" if self.later else "refuse")

    def has(
        self, switch: Literal["receipts", "init_config", "history", "client_id_in_login"]
    ) -> bool:
        """Return whether a switch is on; None means on in the later guides only."""
        chosen: bool | None = getattr(self, switch)
        return self.later if chosen is None else chosen

    @property
    def beat(self) -> float:
        """Seconds between two checks for what is overdue: at most one, so that `set` acts soon."""
        return min(1, self.queue_timeout or 1, self.session_grace or 1, self.resend_seconds)

    def agent(self, agent_id: AgentId) -> DeskAgent | None:
        return next((agent for agent in self.agents if agent.id == agent_id), None)

    def words_for(self, place: int, key: str) -> dict[str, object]:
        """Return `place_words` for a queue position as `key`, or nothing if there are none."""
        words = self.place_words.replace("{place}", str(place))
        return {key: words} if words and place else {}

    def queue_name(self, queue_id: QueueId) -> str:
        return self.queue_names.get(str(queue_id), "")


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    named = parts.scheme in {"http", "https"} and parts.netloc
    return bool(named) and text == f"{parts.scheme}://{parts.netloc}"


def _remedy(complaint: str) -> str:
    """Return what a switch may be, where msgspec only says what it must not be."""
    found = re.search(r"`\$\.(\w+)`$", complaint)
    if found and complaint.startswith("Invalid enum value"):
        hint = get_type_hints(SimulatorOptions)[found[1]]
        choices = [kind for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal]
        return ": it may be " + ", ".join(str(word) for kind in choices for word in get_args(kind))
    if found and re.match("Expected `(array|object)`, got `str`", complaint):
        return ": it is written as JSON"
    return ""
