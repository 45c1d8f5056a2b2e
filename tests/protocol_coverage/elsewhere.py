"""What no citation can say: rows tested under another name, and rows without a test, with why."""

from __future__ import annotations

from collections.abc import Mapping

from tests.protocol_coverage.citations import Citation
from tests.protocol_coverage.rows import Section

_CHAT = "conformance/test_conversation_chat.py::"
_FLOW = "conformance/test_conversation.py::"
_CODES = "conformance/test_codes.py::"
_LINK = "conformance/test_link.py::"
_WIRE = "conformance/test_link_wire.py::"
_PROTOCOL = "conformance/test_protocol.py::"
_CONTENT = "conformance/test_protocol_content.py::"
_READING = "unit/webchat/test_read.py::"
_WRITING = "unit/webchat/test_write.py::"


def _table(key: str) -> Citation:
    return Section.TABLE, key


def _trap(key: str) -> Citation:
    return Section.TRAPS, key


def _reply(key: str) -> Citation:
    return Section.REPLIES, key


TESTED_BY: Mapping[Citation, tuple[str, ...]] = {
    _reply("minimal"): (f"{_FLOW}test_12_queue_minimal", f"{_READING}test_reply_minimal_and_full"),
    _reply("queued"): (f"{_FLOW}test_13_queue_requestid_in_101",),
    _reply("continued"): (f"{_CHAT}test_37_continue_last", f"{_PROTOCOL}test_37_continued_session"),
    _reply("session"): (
        "conformance/test_conversation_table.py::test_row_12_session_in_the_reply_waits_for_202",
    ),
    _reply("robot"): (f"{_FLOW}test_33_robot_queue", f"{_PROTOCOL}test_33_robot_queue"),
    _reply("permanent"): (f"{_CHAT}test_36_perm_session",),
    _reply("refused"): (f"{_READING}test_a_refused_reply_may_tell_the_request",),
    (Section.PUSHES, "302"): (f"{_READING}test_302_unasked",),
    (Section.CONTENT, "6"): ("unit/webchat/test_content.py::test_other_media",),
    (Section.CONTENT, "11"): ("unit/webchat/test_content.py::test_other_media",),
    _table("2"): (f"{_LINK}test_01_login_body", f"{_LINK}test_08_handshake_refused"),
    _table("4"): (f"{_LINK}test_05_login_html_503", f"{_LINK}test_05b_never_there"),
    _table("5"): (f"{_WIRE}test_70_link_lost_in_chat",),
    _table("7"): (f"{_FLOW}test_12_queue_minimal", f"{_FLOW}test_13_queue_requestid_in_101"),
    _table("8"): (f"{_FLOW}test_14_201_before_101",),
    _table("9"): (f"{_FLOW}test_12_queue_minimal", f"{_FLOW}test_20_media_in_queue"),
    _table("11"): (f"{_CHAT}test_36_perm_session",),
    _table("13"): (f"{_FLOW}test_24_already_routing",),
    _table("14"): (
        f"{_FLOW}test_25_already_chatting_known",
        f"{_FLOW}test_26_already_chatting_unknown",
    ),
    _table("15"): (f"{_FLOW}test_27_off_hours",),
    _table("18"): (f"{_FLOW}test_18_pre_then_start", f"{_FLOW}test_20_media_in_queue"),
    _table("19"): (f"{_FLOW}test_17_position_dedupe",),
    _table("23"): (
        f"{_CHAT}test_49_session_invalid",
        f"{_CHAT}test_72_unanswered_110",
        "unit/conversation/test_replies.py::test_an_answer_to_another_call_changes_nothing",
    ),
    _table("29"): (f"{_CHAT}test_47_rating_after_205",),
    _table("29b"): (f"{_CHAT}test_51_close_by_customer", f"{_CHAT}test_52_close_minus_11"),
    _table("31"): (f"{_CHAT}test_70_link_lost_in_chat",),
    _table("34"): (
        f"{_WIRE}test_70_link_lost_in_chat",
        "unit/link/test_http_client.py::test_delays_double_up_to_the_last",
        "chaos/test_cuts.py::test_links_cut_under_load",
    ),
    (Section.TESTS, "66"): ("chaos/test_kill.py::test_killed_20_times_under_load",),
    **{
        (Section.RESULTS, code): (f"{_CODES}test_a_request_for_an_agent_is_refused",)
        for code in (
            *("0", "-3", "-4", "-5", "-6", "-7", "-8", "-9", "-10", "-11", "-12", "-13", "-14"),
            *("-16", "-17", "-18", "-19", "-20", "-21", "-22", "-23", "-30", "other"),
        )
    },
    **{
        (Section.STATUSES, status): (f"{_CODES}test_every_end_of_a_request_has_its_own_sentence",)
        for status in ("0", "1", "2", "3", "4", "5", "6", "7", "11", "42")
    },
    (Section.TESTS, "60"): (
        "conformance/test_numbers.py::test_notice_types",
        "unit/rooms/test_typist.py::test_a_desk_that_says_it_every_second",
        "unit/rooms/test_typist.py::test_it_ends_when_the_message_is_there",
    ),
    _table("37"): (
        f"{_WIRE}test_64_receipt_only_after_storing",
        f"{_WIRE}test_65_receipt_for_each_copy",
    ),
    _trap("T6"): (
        "unit/webchat/test_content.py::test_text",
        f"{_CONTENT}test_57_file_as_json_text",
    ),
    _trap("T7"): (f"{_CONTENT}test_43_text_seed", f"{_CONTENT}test_44_text_2019"),
    _trap("T8"): (
        "unit/webchat/test_content.py::test_data_or_address",
        f"{_CONTENT}test_55_jpeg_as_base64",
    ),
    _trap("T9"): (
        "unit/media/test_types.py::test_type",
        "unit/media/test_voice.py::test_every_container_becomes_what_either_side_plays",
    ),
    _trap("T10"): (
        f"{_PROTOCOL}test_80_ids_as_strings",
        "unit/webchat/test_read.py::test_integer",
    ),
    _trap("T11"): (
        f"{_WRITING}test_call_id_fits_into_an_int",
        "unit/conversation/test_calls.py::test_call_ids_stay_below_two_to_the_31",
    ),
    _trap("T12"): (f"{_PROTOCOL}test_79_reply_without_id", f"{_WIRE}test_79_reply_without_id"),
    _trap("T13"): (
        f"{_READING}test_result",
        "unit/webchat/test_frames.py::test_only_one_is_success",
    ),
    _trap("T16"): (f"{_READING}test_the_customer_is_taken_off_users",),
    _trap("T18"): ("unit/webchat/test_read.py::test_flag_true", f"{_READING}test_chat_started"),
    _trap("T26"): (
        "unit/webchat/test_http.py::test_login_body",
        "unit/webchat/test_http.py::test_login_body_of_other_dialects",
    ),
    _trap("T31"): (f"{_FLOW}test_32_accepted_11", f"{_PROTOCOL}test_32_accepted_11"),
    _trap("T36"): (f"{_READING}test_extensions",),
}

NOT_COVERED: Mapping[Citation, str] = {}
