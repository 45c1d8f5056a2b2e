"""The command that somebody probably meant: by its letters, or by another word for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

OTHER_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "help": ("?", "commands", "menu", "帮助", "幫助", "说明", "說明", "命令", "指令", "ヘルプ"),
        "start": ("begin", "chat", "contact", "开始", "開始", "联系", "聯絡", "咨询", "諮詢"),
        "cancel": ("leave", "abort", "取消", "退出", "キャンセル"),
        "close": ("stop", "end", "quit", "exit", "bye", "结束", "結束", "关闭", "關閉", "終了"),
        "rate": ("rating", "stars", "score", "评价", "評價", "评分", "評分", "評価"),
        "human": ("agent", "person", "operator", "人工", "转人工", "轉人工", "客服", "担当者"),
        "callback": ("recall", "notify", "remind", "回叫", "回电", "回電", "提醒", "折り返し"),
        "retry": ("resend", "again", "重发", "重發", "重试", "重試", "再送"),
        "status": ("state", "info", "position", "状态", "狀態", "排队", "排隊", "状況"),
        "lang": ("language", "语言", "語言", "言語"),
        "transcript": ("export", "save", "download", "记录", "紀錄"),
        "history": ("chats", "log", "历史", "歷史", "履歴"),
        "queue": ("queues", "department", "队列", "佇列", "キュー"),
        "config": ("settings", "configure", "设置", "設定"),
        "version": ("about", "版本", "バージョン"),
        "logout": ("signout", "登出", "ログアウト"),
        "login": ("signin", "登录", "登入", "ログイン"),
    }
)
"""What people say for our commands, in their languages."""


def nearest(word: str, verbs: Iterable[str]) -> str | None:
    """The command that is nearest to a word that is none.

    Args:
        word: as it was written.
        verbs: the commands that there are.

    Returns:
        None if nothing is near.
    """
    wanted, known = word.casefold(), list(verbs)
    for verb in known:
        if wanted in OTHER_WORDS.get(verb, ()):
            return verb
    near = get_close_matches(wanted, known, 1)
    if not near:  # the beginning of one: "trans", "conf"
        near = [verb for verb in known if len(wanted) > 2 and verb.startswith(wanted)][:1]
    return near[0] if near else None
