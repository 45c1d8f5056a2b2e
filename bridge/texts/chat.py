"""Sentences about a chat: who is in it, how it ends, and what of the agent's cannot be shown."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "chat.started": {
        "zh-CN": "{names} 已加入，正在为您服务。",
        "zh-TW": "{names} 已加入，正在為您服務。",
        "en": "{names} is here to help you.",
        "ja": "{names} が担当いたします。",
    },
    "chat.started_unnamed": {
        "zh-CN": "客服已接入，正在为您服务。",
        "zh-TW": "客服已加入，正在為您服務。",
        "en": "An agent is here to help you.",
        "ja": "担当者につながりました。",
    },
    "chat.agent_joined": {
        "zh-CN": "{names} 加入了对话。",
        "zh-TW": "{names} 加入了對話。",
        "en": "{names} joined the chat.",
        "ja": "{names} がチャットに加わりました。",
    },
    "chat.agent_left": {
        "zh-CN": "{names} 离开了对话。",
        "zh-TW": "{names} 離開了對話。",
        "en": "{names} left the chat.",
        "ja": "{names} がチャットから退出しました。",
    },
    "chat.transferred": {
        "zh-CN": "{old} 已将对话转接给 {new}。",
        "zh-TW": "{old} 已將對話轉接給 {new}。",
        "en": "{old} has handed you over to {new}.",
        "ja": "担当が {old} から {new} に代わりました。",
    },
    "agents.renamed": {
        "zh-CN": "{old} 现在的名字是 {new}。",
        "zh-TW": "{old} 現在的名字是 {new}。",
        "en": "{old} is now called {new}.",
        "ja": "{old} の名前が {new} に変わりました。",
    },
    "agents.outside": {
        "zh-CN": "房间设置不允许 {names} 进入，其消息由我代为转达。要让客服以自己的身份出现，请允许我邀请成员（或解除封禁）。",
        "zh-TW": "聊天室設定不允許 {names} 進入，其訊息由我代為轉達。要讓客服以自己的身分出現，請允許我邀請成員（或解除封鎖）。",
        "en": "This room does not let {names} in, so I pass the words on. To have agents appear as themselves, let me invite people here (or lift the ban).",
        "ja": "このルームの設定により {names} が参加できないため、メッセージは私が代わりにお伝えします。担当者本人を表示するには、私に招待の権限を与えてください（またはブロックを解除してください）。",
    },
    "chat.ended": {
        "zh-CN": "⏹ 客服已结束本次对话。再发一条消息即可重新联系客服。",
        "zh-TW": "⏹ 客服已結束這次對話。再傳一則訊息即可重新聯絡客服。",
        "en": "⏹ The agent has ended the chat. Write again to start a new one.",
        "ja": "⏹ 担当者がチャットを終了しました。メッセージを送ると、新しいチャットを始められます。",
    },
    "chat.ended_by_you": {
        "zh-CN": "⏹ 您已结束本次对话。再发一条消息即可重新联系客服。",
        "zh-TW": "⏹ 您已結束這次對話。再傳一則訊息即可重新聯絡客服。",
        "en": "⏹ You have ended the chat. Write again to start a new one.",
        "ja": "⏹ チャットを終了しました。メッセージを送ると、新しいチャットを始められます。",
    },
    "chat.ended_command": {
        "zh-CN": "⏹ 客服已结束本次对话。发送 {prefix} start 即可重新联系客服。",
        "zh-TW": "⏹ 客服已結束這次對話。傳送 {prefix} start 即可重新聯絡客服。",
        "en": "⏹ The agent has ended the chat. Send {prefix} start for a new one.",
        "ja": "⏹ 担当者がチャットを終了しました。{prefix} start と送信すると、新しいチャットを始められます。",
    },
    "chat.ended_paused": {
        "zh-CN": "⏹ 客服已结束本次对话。本房间的服务目前已暂停。",
        "zh-TW": "⏹ 客服已結束這次對話。這個聊天室的服務目前已暫停。",
        "en": "⏹ The agent has ended the chat. This room is paused at the moment.",
        "ja": "⏹ 担当者がチャットを終了しました。このルームはただいま一時停止中です。",
    },
    "chat.ended_by_you_command": {
        "zh-CN": "⏹ 您已结束本次对话。发送 {prefix} start 即可重新联系客服。",
        "zh-TW": "⏹ 您已結束這次對話。傳送 {prefix} start 即可重新聯絡客服。",
        "en": "⏹ You have ended the chat. Send {prefix} start for a new one.",
        "ja": "⏹ チャットを終了しました。{prefix} start と送信すると、新しいチャットを始められます。",
    },
    "chat.ended_by_you_paused": {
        "zh-CN": "⏹ 您已结束本次对话。本房间的服务目前已暂停。",
        "zh-TW": "⏹ 您已結束這次對話。這個聊天室的服務目前已暫停。",
        "en": "⏹ You have ended the chat. This room is paused at the moment.",
        "ja": "⏹ チャットを終了しました。このルームはただいま一時停止中です。",
    },
    "chat.ended_unheard": {
        "zh-CN": "⏹ 客服系统长时间无法连接，我们已在这边结束对话；客服那边可能仍显示进行中。",
        "zh-TW": "⏹ 客服系統長時間無法連線，我們已在這邊結束對話；客服那邊可能仍顯示進行中。",
        "en": "⏹ The call centre could not be reached for a long time, so the chat was ended on this side only; the agent may still see it as open.",
        "ja": "⏹ コールセンターに長時間接続できないため、こちら側でチャットを終了しました。担当者の画面ではまだ続いている場合があります。",
    },
    "chat.lost": {
        "zh-CN": "刚才的对话在客服系统中已结束，正在为您重新排队，您的消息不会丢失。",
        "zh-TW": "剛才的對話在客服系統中已結束，正在為您重新排隊，您的訊息不會遺失。",
        "en": "The call centre had already ended this chat. Asking for a new one; your message goes along.",
        "ja": "先ほどのチャットはコールセンター側で終了していたため、もう一度担当者を呼び出しています。メッセージはそのまま届きます。",
    },
    "chat.notice": {
        "zh-CN": "ℹ️ {text}",
        "zh-TW": "ℹ️ {text}",
        "en": "ℹ️ {text}",
        "ja": "ℹ️ {text}",
    },
    "chat.recalled": {
        "zh-CN": "ℹ️ 客服撤回了一条消息。",
        "zh-TW": "ℹ️ 客服收回了一則訊息。",
        "en": "ℹ️ The agent took back a message.",
        "ja": "ℹ️ 担当者がメッセージを1件取り消しました。",
    },
    "chat.media_failed": {
        "zh-CN": "{agent} 发来文件「{name}」，但文件无法取得。请让客服重新发送。",
        "zh-TW": "{agent} 傳來檔案「{name}」，但無法取得檔案。請客服重新傳送。",
        "en": "{agent} sent the file “{name}”, but it could not be fetched. Please ask for it again.",
        "ja": "{agent} からファイル「{name}」が送られましたが、取得できませんでした。もう一度送ってもらうよう担当者にお伝えください。",
    },
    "chat.unknown": {
        "zh-CN": "{agent} 发来一条这里无法显示的消息（类型 {type}）。请让客服换一种方式发送。",
        "zh-TW": "{agent} 傳來一則這裡無法顯示的訊息（類型 {type}）。請客服換個方式傳送。",
        "en": "{agent} sent a message that cannot be shown here (type {type}). Please ask for it in another form.",
        "ja": "{agent} から、ここでは表示できないメッセージ（種類 {type}）が届きました。別の形で送ってもらうよう担当者にお伝えください。",
    },
    "close.nothing": {
        "zh-CN": "现在没有进行中的对话。",
        "zh-TW": "目前沒有進行中的對話。",
        "en": "There is no chat to end.",
        "ja": "進行中のチャットはありません。",
    },
    "close.refused": {
        "zh-CN": "客服系统没有接受结束对话（代码 {code}），对话仍在进行。",
        "zh-TW": "客服系統沒有接受結束對話（代碼 {code}），對話仍在進行。",
        "en": "The call centre did not end the chat (code {code}); it goes on.",
        "ja": "チャットを終了できませんでした（コード {code}）。チャットは続いています。",
    },
}
