"""Where the guide misleads (reference 6)."""

from __future__ import annotations

from tests.protocol_coverage.rows import Row, Section, numbered

ROWS: tuple[Row, ...] = tuple(
    numbered(
        Section.TRAPS,
        {
            "T1": "the guide's examples are no JSON: write and read strictly",
            "T2": "type 2 is logout, whatever its comment says",
            "T3": "requestId comes from 101, 201 or a refused 101",
            "T4": "queueLength is a place; 0 is none",
            "T5": "202 has no requestId: it is the one that waits",
            "T6": "content is object, string, or JSON in a string",
            "T7": "content.content in the guide, text later",
            "T8": "picture: base64, data URI, address or object",
            "T9": "voice says nothing of its format",
            "T10": "numbers as strings",
            "T11": "messageId: unique, small, the same only for a repeat",
            "T12": "reply without messageId, or with a foreign one",
            "T13": "success is 1 alone",
            "T14": "accepted, then silence: not before 20 s again",
            "T15": "message of an agent who is not in the list",
            "T16": "the first of the people may be the customer",
            "T17": "204 for a new name or picture only; an empty list",
            "T18": "robotMode as bool, number or word",
            "T19": "which session is rated after the end",
            "T20": "rating without having been asked",
            "T21": "rating 0 is a rating",
            "T22": "pre-messages are with the agent: not said again",
            "T23": "frames beyond 8,192 bytes close the link",
            "T24": "text that looks like JSON",
            "T25": "from: any word is borne",
            "T26": "epid: empty in 2016, left out later",
            "T27": "numbers from 1000 never go on the socket",
            "T28": "pre-message is not preview",
            "T29": "type 3 only over HTTP",
            "T30": "the vendor's misspelt names stay findable",
            "T31": "status 11 is no error",
            "T32": "201 with result in place of requestStatus",
            "T33": "notice 4 ends nothing by itself",
            "T34": "doubles after a new link, without receipts",
            "T35": "customer's text is not HTML-escaped",
            "T36": "allowed extensions as array or string",
            "T37": "robot's preview is HTML",
            "T38": "wanted agent is offline",
            "T39": "agents' comments are not for customers",
        },
    )
)
