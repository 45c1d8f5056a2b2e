"""Answers to a room admin who configures a room, by command or by state event."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "config.bad_queue": {
        "zh-CN": "没有队列「{value}」，设置未更改。可用队列：{known}。",
        "zh-TW": "沒有「{value}」這個佇列，設定未變更。可用的佇列：{known}。",
        "en": "There is no queue “{value}”, so nothing was changed. The queues: {known}.",
        "ja": "「{value}」という窓口はないため、設定は変更していません。窓口：{known}",
    },
    "config.bad_value": {
        "zh-CN": "「{key}」不能设为「{value}」，设置未更改。可用的值：{known}。",
        "zh-TW": "「{key}」不能設為「{value}」，設定未變更。可用的值：{known}。",
        "en": "“{key}” cannot be “{value}”, so nothing was changed. It takes: {known}.",
        "ja": "「{key}」を「{value}」にすることはできないため、設定は変更していません。使える値：{known}",
    },
    "config.bad_key": {
        "zh-CN": "没有设置项「{key}」，设置未更改。可用：{known}。",
        "zh-TW": "沒有「{key}」這個設定項目，設定未變更。可用的項目：{known}。",
        "en": "There is no setting “{key}”, so nothing was changed. Known: {known}.",
        "ja": "「{key}」という設定項目はないため、設定は変更していません。使える項目：{known}",
    },
    "config.shown": {
        "zh-CN": "本房间的设置：队列「{queue}」，来源 {source}，语言 {language}，开始方式 {start}，暂停 {paused}。",
        "zh-TW": "這個聊天室的設定：佇列「{queue}」，來源 {source}，語言 {language}，開始方式 {start}，暫停 {paused}。",
        "en": "This room's settings: queue {queue}, from {source}, language {language}, start {start}, paused {paused}.",
        "ja": "このルームの設定：窓口「{queue}」、接続元 {source}、言語 {language}、開始方法 {start}、一時停止 {paused}。",
    },
    "config.taken": {
        "zh-CN": "设置已生效：队列「{queue}」，来源 {source}，语言 {language}，开始方式 {start}，暂停 {paused}。",
        "zh-TW": "設定已生效：佇列「{queue}」，來源 {source}，語言 {language}，開始方式 {start}，暫停 {paused}。",
        "en": "Settings changed: queue {queue}, from {source}, language {language}, start {start}, paused {paused}.",
        "ja": "設定を変更しました：窓口「{queue}」、接続元 {source}、言語 {language}、開始方法 {start}、一時停止 {paused}。",
    },
    "config.queue_set": {
        "zh-CN": "队列已设为「{queue}」，下次联系客服时生效。",
        "zh-TW": "佇列已設為「{queue}」，下次聯絡客服時生效。",
        "en": "The queue is now {queue}; the next request goes there.",
        "ja": "窓口を「{queue}」に変更しました。次に担当者を呼び出すときから有効です。",
    },
    "config.language_set": {
        "zh-CN": "语言已设为简体中文（{language}）。",
        "zh-TW": "語言已設為繁體中文（{language}）。",
        "en": "The language is now English ({language}).",
        "ja": "言語を日本語（{language}）に変更しました。",
    },
    "config.from_set": {
        "zh-CN": "来源已设为 {source}，下次联系客服时生效。",
        "zh-TW": "來源已設為 {source}，下次聯絡客服時生效。",
        "en": "The source is now {source}; agents see it from the next request on.",
        "ja": "接続元を {source} に変更しました。次に担当者を呼び出すときから有効です。",
    },
    "config.paused": {
        "zh-CN": "本房间的服务已暂停。管理员可发送 {prefix} resume 恢复。",
        "zh-TW": "這個聊天室的服務已暫停。管理員可傳送 {prefix} resume 恢復服務。",
        "en": "This room is paused. A room admin can send {prefix} resume.",
        "ja": "このルームは一時停止中です。ルームの管理者が {prefix} resume と送信すると再開します。",
    },
    "config.paused_meanwhile": {
        "zh-CN": "本房间的服务已暂停：从现在起写的内容不会送给客服。正在进行的排队或对话并没有结束，发送 {prefix} close 可结束它。管理员可发送 {prefix} resume 恢复。",
        "zh-TW": "這個聊天室的服務已暫停：從現在起寫的內容不會送給客服。正在進行的排隊或對話並沒有結束，傳送 {prefix} close 可結束它。管理員可傳送 {prefix} resume 恢復服務。",
        "en": "This room is paused: what is written from here on goes to no agent. The chat or the wait that is going on is not ended by this; {prefix} close ends it. A room admin can send {prefix} resume.",
        "ja": "このルームは一時停止中です。これ以降のメッセージは担当者に届きません。進行中のチャットや順番待ちは終了していません。終了するには {prefix} close と送信してください。ルームの管理者が {prefix} resume と送信すると再開します。",
    },
    "config.resumed": {
        "zh-CN": "本房间的服务已恢复。",
        "zh-TW": "這個聊天室的服務已恢復。",
        "en": "This room is served again.",
        "ja": "このルームの利用を再開しました。",
    },
    "config.not_paused": {
        "zh-CN": "本房间的服务没有暂停。",
        "zh-TW": "這個聊天室的服務沒有暫停。",
        "en": "This room is not paused.",
        "ja": "このルームは一時停止していません。",
    },
}
