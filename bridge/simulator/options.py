"""The options of a simulator, most of them changeable while it runs.

The defaults are the guide of 2016, read strictly. Dialect 2019 is the later guides (R2 to R4 of the
protocol reference). Every other behaviour that a WebChat server was seen or said to have (reference
section 8) is a switch; a switch that is None does what its dialect does.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bridge.ids import AgentId, QueueId

FIXED_AT_START = frozenset({"context", "keep_frames", "keep_entries", "public_origin"})
"""Options that the control operation `set` refuses: routes and logs are built from them once."""


class DeskAgent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person at the simulated desk, or its robot."""

    id: AgentId
    name: str = ""
    icon: str = "auto"
    """Sent as it is; `auto` becomes the absolute address of a generated picture."""
    comments: str = ""


class RatingChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the rating table that 200 announces."""

    id: int
    name: str


class SimulatorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All switches of the simulator. Times are seconds, sizes bytes, unless the name says more.

    Raises:
        ValueError: a value makes no sense; the sentence names the option.
    """

    # --- the desk -----------------------------------------------------------------------------
    script: Literal["hand", "accept", "echo", "refuse"] = "hand"
    """`hand`: played at `/desk` or by control operations; `accept`: at once; `echo`: and says it
    all back; `refuse`: nobody takes anybody."""
    agents: tuple[DeskAgent, ...] = (
        DeskAgent(id=AgentId("A00001"), name="Mei"),
        DeskAgent(id=AgentId("A00002"), name="Jun", comments="team lead"),
    )
    """The agents online. Nobody: 101 is answered with -5."""
    queues: tuple[int, ...] = ()
    """Known queue ids; empty: every id is known. Another id is answered with -7."""
    queue_names: dict[str, str] = {}
    """Queue id (in digits) to name: for the desk, and for the 204 of a transfer."""
    queue_timeout: float = 0
    """Longest wait in a queue, then requestStatus 3; 0: no limit."""
    open_hours: bool = True
    """False: 101 is answered with -3."""

    # --- the wire -----------------------------------------------------------------------------
    dialect: Literal["2016", "2019"] = "2016"
    revision: Literal["R2", "R3", "R4"] = "R4"
    """The later guide that 2019 stands for: R2 puts rsId on 210 only, R4 names the session in the
    201 of a robot's hand-over."""
    foreign_keys: Literal["refuse", "ignore"] = "ignore"
    """Keys of the other dialect (`text` in 2016, `content` in 2019) beside the right ones: refused,
    or not looked at, which lets in a client that writes both."""
    wrong_keys: Literal[-14, -8, -17, -100] = -14
    """The result for a text or a rating in the keys of the other dialect: that of a server
    that did not find it under the name it knows."""
    context: str = "/webchat"
    """The path under which everything is served; may be empty."""
    public_origin: str = ""
    """Scheme, host and port as clients see them; empty: where it listens."""
    request_id_in_reply: bool = False
    """The 101 reply carries requestId and queueLength, a refused one what is already there."""
    session_in_reply: bool = False
    """The 101 reply of a request accepted at once carries the session; its 202 follows."""
    permanent: bool = False
    """101 is answered with a permanent session (`perm`); no 202 follows."""
    nested_status: bool = False
    """201 carries its values in a `data` object, as the phone clients expect."""
    ids_as_strings: bool = False
    """requestId and sessionId are written as digit strings."""
    omit_call_ids: bool = False
    """Replies carry no messageId (trap T12)."""
    omit_types: bool = False
    """Replies carry no type, as those of a server that could not read the command."""
    session_in_message_reply: bool = False
    """A 110 that names a dead session is taken into the open one, and its reply tells which: what
    the phone clients meet when they missed a 202."""
    original_in_refusal: bool = False
    """A 110 refused with -11 gets its message back in `originalMessage`."""
    heartbeat: Literal["refuse", "ok", "silent"] | None = None
    """The answer to type 10. 2016 does not know it: -12."""
    unknown_type: Literal[-12, -19] = -12
    videos: bool = False
    """Customers may send type 6; no guide says so: -12."""
    frame_limit: int = 8192
    """A longer text frame closes the socket with 1009 (trap T23)."""
    close_echoed: bool = False
    """A customer's own 103 is followed by a 205."""
    change_notices: bool = False
    """Transfer, conference and departure are also told by a system notice (11, 10, 12)."""
    reply_delay_ms: int = 0
    """Every frame leaves that much later; order is kept."""
    init_config: bool | None = None
    """A fresh socket gets 200 with ratings and extensions; 2019 does."""
    ratings: tuple[RatingChoice, ...] = (
        RatingChoice(id=1, name="满意"),
        RatingChoice(id=0, name="不满意"),
    )

    # --- pushes that nobody received -----------------------------------------------------------
    missed_pushes: Literal["lost", "kept"] = "lost"
    """The fate of a push while its customer has no socket."""
    resume_push: bool = False
    """A socket opened during a session gets 202 again, with continueLastSession."""
    receipts: bool | None = None
    """Pushes carry an rsId and are repeated until 120 names it; 2019 does."""
    receipt_reply: bool = False
    """120 gets a reply. No revision shows one."""
    resend_seconds: float = 3.0
    max_resends: int = 5
    max_pending: int = 1000
    """Unreceipted or kept pushes per customer; the oldest go first."""
    session_grace: float = 0
    """A session ends that long after its customer's socket; 0: never."""

    # --- login --------------------------------------------------------------------------------
    accounts: dict[str, str] = {}
    """Login name to password for type 1; empty: every name and password will do."""
    client_id_in_login: bool | None = None
    """The login's answer tells `clientId`; 2019 does."""
    sign_key: str = ""
    """The key of the login's `sign` header; empty: not looked at."""
    login_limit: int = 10
    """More logins than this in the window from one address, and it is shut out; 0: no limit."""
    login_window: float = 60
    login_ban: float = 3600
    ban_covers: Literal["login", "everything"] = "login"
    """The routes that a blacklisted address cannot reach."""
    token_lifetime: float = 86400
    new_login_kills_old: bool = True
    awkward_tokens: bool = False
    """Tokens hold `+`, `/` and `=`, which a client must percent-encode."""
    sticky_cookie: bool = False
    """A balancer stands before several servers, and each login's cookie leads to the one that knows
    its token: without it `cws`, `tpiu` and the history do not know it."""
    handshake_refusal: Literal["401", "close", "frame"] = "401"
    """How a socket with a bad token is refused: HTTP 401, close 1008, or a frame with -15."""

    # --- history and files --------------------------------------------------------------------
    history: bool | None = None
    """`/tpi` answers 5003; 2019 does."""
    history_style: Literal["named", "rows"] = "named"
    """`rows`: the older form, with `message` for `text` and without names."""
    running_history: Literal["told", "asked", "never"] = "told"
    """Whether 5003 tells of the chat that goes on: always; only if `continueLastSession` asks for
    it, as the HTTP guide of 2020-08 has it; or whatever is asked, only once it has ended."""
    history_behind: int = 0
    """5003 does not know the newest so many messages yet."""
    upload_mode: Literal["raw", "multipart", "both"] = "raw"
    wrong_upload: int = -14
    """The answer to a body of the other kind, which no guide gives: a result, or, from 200 to 599,
    an HTTP status with a page."""
    upload_url: Literal["context", "root", "bare", "absolute"] = "context"
    """`/webchat/up/…`, `/up/…`, `up/…`, or with scheme and host (reference 3.4)."""
    allowed_extensions: tuple[str, ...] = ()
    """Lower case, no dots; empty: all. Another one is answered with -16."""
    max_upload: int = 50 * 1024 * 1024

    # --- the robot ------------------------------------------------------------------------------
    robot_queues: tuple[int, ...] = ()
    """Queues that a robot answers first; 302 asks it for a person."""
    robot: DeskAgent = DeskAgent(id=AgentId("BOT007"), name="Helper")
    robot_type: Literal[0, 1, 2, 3] = 3
    """Its make: 0 KM, 1 YIBOT, 2 XIAOI, 3 XIAODUO (whose 301 holds JSON text)."""
    robot_speaks: Literal[301, 210] = 301
    robot_started: bool = False
    """A 202 follows the 101 reply of a robot queue."""
    robot_mode: bool = True
    """A 202 of the robot's session says robotMode, as the phone clients read it; no guide does."""
    robot_handover: Literal[204, 202] = 204
    """The push that tells that a person has taken over."""
    robot_key: str = ""
    """The PUBLIC_KEY of robotSearch; empty: `sign` is not looked at."""
    robot_answers: dict[str, str] = {}
    """Question to answer (HTML), for robotSearch and robot queues."""

    # --- what is remembered -----------------------------------------------------------------------
    keep_frames: int = 20_000
    """The frames log holds the last so many."""
    keep_entries: int = 2_000
    """The desk's record of what was said, likewise."""
    keep_records: int = 10_000
    """Each list in a customer's part of the state, likewise."""

    def __post_init__(self) -> None:
        if self.context and (not self.context.startswith("/") or self.context.endswith("/")):
            raise ValueError("context must be empty or start, and not end, with a slash")
        kept = ("keep_frames", "keep_entries", "keep_records")
        for name in ("frame_limit", "max_upload", "max_pending", *kept):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not (self.wrong_upload <= 0 or 200 <= self.wrong_upload <= 599):
            raise ValueError("wrong_upload must be a result that refuses, or an HTTP status")
        for name in ("token_lifetime", "resend_seconds", "login_window"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds")
        amounts = ("login_limit", "login_ban", "session_grace", "reply_delay_ms", "max_resends")
        for name in (*amounts, "queue_timeout", "history_behind"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if len({agent.id for agent in self.agents}) < len(self.agents):
            raise ValueError("agents must have different ids")
        if not all(agent.id for agent in (*self.agents, self.robot)):
            raise ValueError("agents must have an id")

    def changed(self, changes: dict[str, object]) -> SimulatorOptions:
        """These options with some values replaced.

        Raises:
            ValueError: an unknown name, a wrong value, or one that is fixed once started.
        """
        if fixed := FIXED_AT_START & changes.keys():
            raise ValueError(f"{min(fixed)} cannot change while the simulator runs")
        try:
            return msgspec.convert({**msgspec.to_builtins(self), **changes}, SimulatorOptions)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    # --- what the switches come to ----------------------------------------------------------------

    @property
    def later(self) -> bool:
        """The dialect is one of the later guides."""
        return self.dialect == "2019"

    @property
    def pulse(self) -> Literal["refuse", "ok", "silent"]:
        return self.heartbeat or ("ok" if self.later else "refuse")

    @property
    def numbers_pushes(self) -> bool:
        return self.later if self.receipts is None else self.receipts

    @property
    def greets(self) -> bool:
        return self.later if self.init_config is None else self.init_config

    @property
    def tells_history(self) -> bool:
        return self.later if self.history is None else self.history

    @property
    def tells_client_id(self) -> bool:
        return self.later if self.client_id_in_login is None else self.client_id_in_login

    @property
    def beat(self) -> float:
        """Seconds between two looks at what is due: pushes to repeat, requests to end."""
        return min(self.resend_seconds, self.queue_timeout or self.resend_seconds)

    def agent(self, agent_id: AgentId) -> DeskAgent | None:
        """The agent online under that id."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)

    def queue_name(self, queue_id: QueueId) -> str:
        """A queue's name; empty when it has none."""
        return self.queue_names.get(str(queue_id), "")
