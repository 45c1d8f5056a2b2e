"""The bridge with short waits for the homeserver, run by `python -m` in place of `bridge`."""

from __future__ import annotations

from bridge.__main__ import main
from bridge.rooms import to_matrix

HURRIED = {"TELL_AFTER": 3.0, "FIRST_WAIT": 0.5, "LAST_WAIT": 1.0, "STORE_WITHIN": 1_000}
"""Constants of `rooms.to_matrix`, instead of minutes; in the same order of size."""

if __name__ == "__main__":
    for name, value in HURRIED.items():
        setattr(to_matrix, name, value)
    main()
