"""Commands to wire text, wire text to replies and pushes.

Theory of operation: we are strict in what we write and tolerant in what we read. `dump_command`
writes one dialect, key for key as its guide prints it, as strict JSON, and raises on what the
server would have to refuse. `parse_frame` reads all revisions at once and never raises: a frame
that says nothing to us comes back as `Ignored`, so that no server, however odd, can close a link.

The wire spelling of keys lives in four modules and nowhere else: `writing` (commands), `reading`
(envelopes), `content` (what agents send), `robot` (what the robot says). `PROTOCOL.md` lists every
place where the guide leaves a choice.
"""

from bridge.webchat.reading import parse_frame
from bridge.webchat.writing import dump_command

__all__ = ["dump_command", "parse_frame"]
