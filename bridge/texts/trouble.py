"""Sentences about the call centre being out of reach, or turning this room away."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "trouble.unreachable": {
        "zh-CN": "⚠️ 暂时无法连接客服系统。您的消息已保留，恢复后会自动发送。",
        "zh-TW": "⚠️ 暫時無法連線到客服系統。您的訊息已保留，恢復後會自動傳送。",
        "en": "⚠️ The call centre cannot be reached at the moment. Your messages are kept and go out when it is back.",
        "ja": "⚠️ ただいまコールセンターに接続できません。メッセージはお預かりし、復旧しだい自動で送信します。",
    },
    "trouble.turn": {
        "zh-CN": "⏳ 正在依次重新接入客服系统，请稍候片刻。您的消息已保留，接入后会自动发送。",
        "zh-TW": "⏳ 正在依序重新連線到客服系統，請稍候片刻。您的訊息已保留，連線後會自動傳送。",
        "en": "⏳ We are connecting you to the call centre again. Everybody is connected in turn, so it takes a moment; your messages are kept and go out by themselves.",
        "ja": "⏳ コールセンターに順番に再接続していますので、少々お待ちください。メッセージはお預かりし、つながりしだい自動で送信します。",
    },
    "trouble.over": {
        "zh-CN": "✅ 已恢复与客服系统的连接。",
        "zh-TW": "✅ 已恢復與客服系統的連線。",
        "en": "✅ The call centre can be reached again.",
        "ja": "✅ コールセンターとの接続が復旧しました。",
    },
    "trouble.given_up": {
        "zh-CN": "客服系统长时间无法连接，排队请求已放弃。请稍后再发一条消息重试。",
        "zh-TW": "客服系統長時間無法連線，已取消排隊請求。請稍後再傳一則訊息重試。",
        "en": "The call centre could not be reached for a long time, so the request was given up. Please write again later.",
        "ja": "コールセンターに長時間接続できないため、呼び出しを中止しました。しばらくしてからもう一度メッセージをお送りください。",
    },
    "trouble.other_chat": {
        "zh-CN": "客服系统显示您还有一个未结束的对话，但这里无法接入。请稍后再发一条消息；若仍不行，请联系管理员。",
        "zh-TW": "客服系統顯示您還有一個未結束的對話，但這裡無法接上。請稍後再傳一則訊息；若仍不行，請聯絡管理員。",
        "en": "The call centre says that you have a chat open which cannot be reached from here. Please write again later, and tell an administrator if that fails too.",
        "ja": "コールセンターには終了していないチャットが残っていますが、ここからはつながりません。しばらくしてからもう一度お送りください。続く場合は管理者にご連絡ください。",
    },
    "trouble.server_says": {
        "zh-CN": "客服系统的说明：「{text}」",
        "zh-TW": "客服系統的說明：「{text}」",
        "en": "The call centre says: “{text}”",
        "ja": "コールセンターからのメッセージ：「{text}」",
    },
    "trouble.login_refused": {
        "zh-CN": "⚠️ 客服系统拒绝了本房间的登录，这需要管理员处理。",
        "zh-TW": "⚠️ 客服系統拒絕了這個聊天室的登入，需要管理員處理。",
        "en": "⚠️ The call centre refused this room's login. An administrator has to look into it.",
        "ja": "⚠️ このルームからのログインがコールセンターに拒否されました。管理者による対応が必要です。",
    },
    "trouble.sign_refused": {
        "zh-CN": "⚠️ 客服系统拒绝了本服务的签名，这需要管理员处理。",
        "zh-TW": "⚠️ 客服系統拒絕了本服務的簽章，需要管理員處理。",
        "en": "⚠️ The call centre refused this service's signature. An administrator has to look into it.",
        "ja": "⚠️ このサービスの署名がコールセンターに拒否されました。管理者による対応が必要です。",
    },
}
