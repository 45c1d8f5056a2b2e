"""Every result code and request status of the protocol has a text."""

from __future__ import annotations

import re

from bridge.texts import CATALOGUE, LANGUAGES, placeholders
from bridge.webchat.codes import RequestStatus, ResultCode

SENTENCES = {
    key: sentence
    for key, sentence in CATALOGUE.items()
    if re.match(r"(result|status)\.", key) and not key.endswith(("_command", "_paused"))
}
"""Texts of codes, without the variants for rooms where a message requests no agent."""


def test_every_result_code_has_a_sentence_and_nothing_else() -> None:
    written = {key for key in SENTENCES if key.startswith("result.")}
    assert written == {f"result.{code.value}" for code in ResultCode} | {"result.other"}


def test_every_request_status_has_a_sentence_and_nothing_else() -> None:
    written = {key for key in SENTENCES if key.startswith("status.")}
    assert written == {f"status.{status.value}" for status in RequestStatus} | {"status.other"}
    assert len(SENTENCES) == len(ResultCode) + len(RequestStatus) + 2


def test_only_unknown_codes_show_a_number() -> None:
    for key, sentence in SENTENCES.items():
        for language in LANGUAGES:
            expected = {"code"} if key.endswith(".other") else set()
            assert placeholders(sentence[language]) == expected


def test_sentences_are_short_and_end_with_a_full_stop() -> None:
    for key, sentence in SENTENCES.items():
        assert len(sentence["en"]) <= 130, key
        assert sentence["en"].endswith(".")
        for language, longest in (("zh-CN", 45), ("zh-TW", 45), ("ja", 80)):
            assert len(sentence[language]) <= longest, key
            assert sentence[language].endswith("。")
