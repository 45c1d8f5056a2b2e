"""The robot at `/robotSearch` (guide part four): canned answers, strict about the sign."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from bridge.simulator.options import SimulatorOptions
from bridge.simulator.outgoing import Wire
from bridge.webchat.codes import ResultCode

_SIGNED = ("action", "epid", "question")
"""In the order of their names, which is the order they are signed in."""


def search(options: SimulatorOptions, form: Mapping[str, str]) -> Wire:
    """Answer one question.

    Args:
        options: the key and the answers.
        form: the decoded form fields.

    Returns:
        The JSON of the answer: -14 a field is missing, -30 wrong sign; an unknown question has an
        empty `srs`.
    """
    missing = [name for name in (*_SIGNED, "sign") if name not in form]
    if missing:
        return _no(ResultCode.INVALID_PARAMETER, f"{missing[0]} is missing")
    if form["action"] != "search":
        return _no(ResultCode.INVALID_PARAMETER, "action must be search")
    key = options.robot_key
    if key and not hmac.compare_digest(sign_of(form, key).encode(), form["sign"].lower().encode()):
        return _no(ResultCode.INVALID_SIGN, "wrong sign")
    question = form["question"]
    if not question.strip():
        return _no(ResultCode.EMPTY_MESSAGE, "the question is blank")
    preview = options.robot_answers.get(question)
    results: list[Wire] = [] if preview is None else [_result(question, preview)]
    return {
        "searchResult": {"question": question, "srs": results},
        "result": int(ResultCode.SUCCESS),
        "message": "",
    }


def sign_of(form: Mapping[str, str], key: str) -> str:
    """The `sign` of a search: MD5 of the raw values in name order and the key (guide part four)."""
    text = "".join(form[name] for name in _SIGNED) + key
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _result(question: str, preview: str) -> Wire:
    article = hashlib.sha256(question.encode()).hexdigest()[:12]
    return {
        "preview": preview,
        "question": "",
        "ra": {
            "articleAId": article,
            "path": f"/km/ArticleStore/{article}.htm",
            "title": question,
        },
        "title": question,
    }


def _no(code: ResultCode, message: str) -> Wire:
    return {"result": int(code), "message": message}
