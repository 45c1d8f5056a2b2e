"""Sending again what did not arrive: how, and what comes of it."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "again.hint": {
        "zh-CN": "要再发一次，请给这条消息加 🔁，或发送 {prefix} retry。",
        "zh-TW": "要再傳一次，請為這則訊息加上 🔁，或傳送 {prefix} retry。",
        "en": "To send it again, react to this with 🔁 or send {prefix} retry.",
        "ja": "もう一度送るには、このメッセージに 🔁 を付けるか、{prefix} retry と送信してください。",
    },
    "again.delivered": {
        "zh-CN": "✅ 这条消息现在已送达。",
        "zh-TW": "✅ 這則訊息現在已送達。",
        "en": "✅ This message has been delivered now.",
        "ja": "✅ このメッセージが届きました。",
    },
    "again.under_way": {
        "zh-CN": "这条消息正在重新发送，请稍候。",
        "zh-TW": "這則訊息正在重新傳送，請稍候。",
        "en": "This message is on its way again. Please wait a moment.",
        "ja": "このメッセージは再送中です。少々お待ちください。",
    },
    "again.nothing": {
        "zh-CN": "没有需要重新发送的消息。",
        "zh-TW": "沒有需要重新傳送的訊息。",
        "en": "There is no message to send again.",
        "ja": "再送するメッセージはありません。",
    },
    "again.forgotten": {
        "zh-CN": "这条消息的内容已不再保留，无法重新发送。请再写一遍。",
        "zh-TW": "這則訊息的內容已不再保留，無法重新傳送。請再寫一次。",
        "en": "What this message said is no longer kept here, so it cannot be sent again. Please write it once more.",
        "ja": "このメッセージの内容はもう保存されていないため、再送できません。お手数ですが、もう一度お書きください。",
    },
    "again.cannot": {
        "zh-CN": "这条消息无法重新发送。请再写一遍。",
        "zh-TW": "這則訊息無法重新傳送。請再寫一次。",
        "en": "This message cannot be sent again. Please write it once more.",
        "ja": "このメッセージは再送できません。お手数ですが、もう一度お書きください。",
    },
    "usage.retry": {
        "zh-CN": "用法：{prefix} retry（最近一条未送达的消息）或 {prefix} retry all（全部）；也可以在回复某条消息时发送",
        "zh-TW": "用法：{prefix} retry（最近一則未送達的訊息）或 {prefix} retry all（全部）；也可以在回覆某則訊息時傳送",
        "en": "Usage: {prefix} retry (the last message that did not arrive) or {prefix} retry all; or as a reply to one of them",
        "ja": "使い方：{prefix} retry（最後に届かなかったメッセージ）または {prefix} retry all（すべて）。該当メッセージへの返信として送ることもできます",
    },
}
