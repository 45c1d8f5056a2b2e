"""What a simulator run can be told, all of it changeable while it runs.

The defaults are the guide of 2016, read strictly: the reply to 101 says nothing but `result`, the
body of an upload is the file's bytes, pushes carry no receipt id, and what is pushed while no
socket is open is lost. Every other behaviour that a WebChat server was seen or said to have
(protocol reference section 8) is a switch.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bridge.ids import AgentId

FIXED_AT_START = frozenset({"context", "keep_frames", "public_origin"})
"""Options that the control operation `set` refuses: routes and log are built from them once."""


class DeskAgent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person at the simulated desk."""

    id: AgentId
    name: str = ""
    icon: str = "auto"
    """Sent as it is; `auto` becomes the absolute address of a generated picture."""
    comments: str = ""


class SimulatorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All switches of the simulator. Times are seconds, sizes bytes, unless the name says more.

    Raises:
        ValueError: a value makes no sense; the sentence names the option.
    """

    # --- the desk -----------------------------------------------------------------------------
    script: Literal["hand", "accept", "echo"] = "hand"
    """`hand`: played by control operations; `accept`: at once; `echo`: and says it all back."""
    agents: tuple[DeskAgent, ...] = (
        DeskAgent(id=AgentId("A00001"), name="Mei"),
        DeskAgent(id=AgentId("A00002"), name="Jun", comments="team lead"),
    )
    """Who is online. Nobody: 101 is answered with -5."""
    queues: tuple[int, ...] = ()
    """Known queue ids; empty: every id is known. Another id is answered with -7."""
    open_hours: bool = True
    """False: 101 is answered with -3."""

    # --- the wire -----------------------------------------------------------------------------
    dialect: Literal["2016"] = "2016"
    context: str = "/webchat"
    """The path under which everything is served; may be empty."""
    public_origin: str = ""
    """Scheme, host and port as clients see them; empty: where it listens."""
    request_id_in_reply: bool = False
    """The 101 reply carries requestId and queueLength, a refused one what is already there."""
    nested_status: bool = False
    """201 carries its values in a `data` object, as the phone clients expect."""
    ids_as_strings: bool = False
    """requestId and sessionId are written as digit strings."""
    heartbeat: Literal["refuse", "ok", "silent"] = "refuse"
    """What type 10 gets. The guide of 2016 does not know it: -12."""
    frame_limit: int = 8192
    """A longer text frame closes the socket with 1009 (trap T23)."""
    close_echoed: bool = False
    """A customer's own 103 is followed by a 205."""
    reply_delay_ms: int = 0
    """Every frame leaves that much later; order is kept."""

    # --- pushes that nobody received -----------------------------------------------------------
    missed_pushes: Literal["lost", "kept"] = "lost"
    """What becomes of a push while its customer has no socket."""
    resume_push: bool = False
    """A socket opened during a session gets 202 again."""
    receipts: bool = False
    """Every push carries an rsId and is repeated until 120 names it (later revisions)."""
    resend_seconds: float = 3.0
    max_resends: int = 5
    max_pending: int = 1000
    """Unreceipted or kept pushes per customer; the oldest go first."""
    session_grace: float = 0
    """A session ends that long after its customer's socket; 0: never."""

    # --- login --------------------------------------------------------------------------------
    accounts: dict[str, str] = {}
    """Login name to password for type 1; empty: every name and password will do."""
    sign_key: str = ""
    """The key of the login's `sign` header; empty: not looked at."""
    login_limit: int = 10
    """More logins than this in the window from one address, and it is shut out; 0: no limit."""
    login_window: float = 60
    login_ban: float = 3600
    token_lifetime: float = 86400
    new_login_kills_old: bool = True
    awkward_tokens: bool = False
    """Tokens hold `+`, `/` and `=`, which a client must percent-encode."""
    handshake_refusal: Literal["401", "close", "frame"] = "401"
    """How a socket with a bad token is refused: HTTP 401, close 1008, or a frame with -15."""

    # --- files and robot ------------------------------------------------------------------------
    upload_mode: Literal["raw", "multipart", "both"] = "raw"
    upload_url: Literal["context", "root", "bare", "absolute"] = "context"
    """`/webchat/up/…`, `/up/…`, `up/…`, or with scheme and host (reference 3.4)."""
    allowed_extensions: tuple[str, ...] = ()
    """Lower case, no dots; empty: all. Another one is answered with -16."""
    max_upload: int = 50 * 1024 * 1024
    robot_key: str = ""
    """The PUBLIC_KEY of robotSearch; empty: `sign` is not looked at."""
    robot_answers: dict[str, str] = {}
    """Question to answer (HTML)."""

    keep_frames: int = 20_000
    """The frames log holds the last so many."""

    def __post_init__(self) -> None:
        if self.context and (not self.context.startswith("/") or self.context.endswith("/")):
            raise ValueError("context must be empty or start, and not end, with a slash")
        for name in ("frame_limit", "max_upload", "max_pending", "keep_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("token_lifetime", "resend_seconds", "login_window"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds")
        for name in ("login_limit", "login_ban", "session_grace", "reply_delay_ms", "max_resends"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if len({agent.id for agent in self.agents}) < len(self.agents):
            raise ValueError("agents must have different ids")
        if not all(agent.id for agent in self.agents):
            raise ValueError("agents must have an id")

    def changed(self, changes: dict[str, object]) -> SimulatorOptions:
        """These options with some values replaced.

        Raises:
            ValueError: an unknown name, a wrong value, or one that is fixed once started.
        """
        if fixed := FIXED_AT_START & changes.keys():
            raise ValueError(f"{min(fixed)} cannot change while the simulator runs")
        try:
            return msgspec.convert(
                {**msgspec.to_builtins(self), **changes}, SimulatorOptions, strict=True
            )
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error
