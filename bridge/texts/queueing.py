"""Sentences about asking for an agent and waiting for one: the queue card, `start`, `cancel`."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    # --- the queue card -------------------------------------------------------------------------
    "queue.asking": {
        "zh-CN": "⏳ 正在为您联系「{queue}」的客服…",
        "zh-TW": "⏳ 正在為您聯絡「{queue}」的客服…",
        "en": "⏳ Asking {queue} for an agent…",
        "ja": "⏳ 「{queue}」の担当者を呼び出しています…",
    },
    "queue.turn": {
        "zh-CN": "⏳ 请稍候：现在需要依次接入客服系统，预计还需：{wait}。您的消息已保留，会自动发送；加 ❌ 或发送 {prefix} cancel 可退出。",
        "zh-TW": "⏳ 請稍候：目前需要依序連線到客服系統，預計還需：{wait}。您的訊息已保留，會自動傳送；加上 ❌ 或傳送 {prefix} cancel 可退出。",
        "en": "⏳ One moment, please: new chats are put through one after another. Expected wait: {wait}. What you have written is kept and goes out by itself. ❌ on this message, or {prefix} cancel, takes you out.",
        "ja": "⏳ 少々お待ちください。順番におつなぎしています（あと{wait}の見込み）。お送りいただいたメッセージはお預かりし、自動で送信します。やめるときは、このメッセージに ❌ を付けるか {prefix} cancel と送信してください。",
    },
    "queue.position": {
        "zh-CN": "⏳ 「{queue}」排队中：您排在第 {position} 位。您可以先留言，客服接入后会看到；加 ❌ 或发送 {prefix} cancel 可退出排队。",
        "zh-TW": "⏳ 「{queue}」排隊中：您排在第 {position} 位。您可以先留言，客服加入後會看到；加上 ❌ 或傳送 {prefix} cancel 可退出排隊。",
        "en": "⏳ Waiting for {queue}: you are number {position}. You may write already, the agent will see it. ❌ on this message, or {prefix} cancel, leaves the queue.",
        "ja": "⏳ 「{queue}」の順番待ち：ただいま{position}番目です。待っている間に送ったメッセージも担当者に届きます。やめるときは、このメッセージに ❌ を付けるか {prefix} cancel と送信してください。",
    },
    "queue.accepted": {
        "zh-CN": "⏳ 客服已接受您的请求，马上为您接通…",
        "zh-TW": "⏳ 客服已接受您的請求，馬上為您接通…",
        "en": "⏳ An agent has accepted, the chat is about to begin…",
        "ja": "⏳ 担当者が応答しました。まもなくおつなぎします…",
    },
    "queue.joined": {
        "zh-CN": "✅ 已接通：{names}",
        "zh-TW": "✅ 已接通：{names}",
        "en": "✅ Connected: {names}",
        "ja": "✅ 接続しました：{names}",
    },
    "queue.joined_unnamed": {
        "zh-CN": "✅ 已接通客服",
        "zh-TW": "✅ 已接通客服",
        "en": "✅ Connected",
        "ja": "✅ 担当者につながりました",
    },
    "queue.ended": {
        "zh-CN": "⏹ 排队已结束。",
        "zh-TW": "⏹ 排隊已結束。",
        "en": "⏹ No longer waiting.",
        "ja": "⏹ 順番待ちは終了しました。",
    },
    "queue.ended_paused": {
        "zh-CN": "没有客服接入，排队已结束；本房间的服务目前已暂停。管理员可发送 {prefix} resume 恢复。",
        "zh-TW": "沒有客服為您服務，排隊已結束；這個聊天室的服務目前已暫停。管理員可傳送 {prefix} resume 恢復服務。",
        "en": "Queueing has ended without an agent, and this room is paused at the moment. A room admin can send {prefix} resume.",
        "ja": "担当者につながらないまま順番待ちが終了しました。このルームは一時停止中です。ルームの管理者が {prefix} resume と送信すると再開します。",
    },
    "queue.cancelled": {
        "zh-CN": "⏹ 您已退出排队。",
        "zh-TW": "⏹ 您已退出排隊。",
        "en": "⏹ You have left the queue.",
        "ja": "⏹ 順番待ちをやめました。",
    },
    "queue.leaving": {
        "zh-CN": "⏹ 正在为您退出排队…",
        "zh-TW": "⏹ 正在為您退出排隊…",
        "en": "⏹ Leaving the queue…",
        "ja": "⏹ 順番待ちをやめる手続き中です…",
    },
    "queue.leaving_away": {
        "zh-CN": "⏹ 正在为您退出排队；暂时无法连接客服系统。",
        "zh-TW": "⏹ 正在為您退出排隊；暫時無法連線到客服系統。",
        "en": "⏹ Leaving the queue; the call centre cannot be reached at the moment.",
        "ja": "⏹ 順番待ちをやめる手続き中ですが、ただいまコールセンターに接続できません。",
    },
    "queue.kept": {
        "zh-CN": "您的 {count} 条消息已为您保留，下次排队时会一并发给客服；发送 {prefix} cancel 可放弃它们。",
        "zh-TW": "已為您保留 {count} 則訊息，下次排隊時會一併傳給客服；傳送 {prefix} cancel 可放棄這些訊息。",
        "en": "Messages kept for you: {count}. They go to the agent with your next request; {prefix} cancel drops them.",
        "ja": "メッセージ{count}件をお預かりしています。次にお問い合わせいただくと担当者に届きます。{prefix} cancel で破棄できます。",
    },
    # --- how a queue ended (`codes`), where writing does not ask again ----------------------------
    "status.2_command": {
        "zh-CN": "客服暂时无法接待您，发送 {prefix} start 即可重新排队。",
        "zh-TW": "客服暫時無法為您服務，傳送 {prefix} start 即可重新排隊。",
        "en": "The agent could not take your request. Send {prefix} start to rejoin the queue.",
        "ja": "担当者が対応できませんでした。{prefix} start と送信すると、もう一度順番待ちに入れます。",
    },
    "status.3_command": {
        "zh-CN": "排队超时，仍无客服接入。发送 {prefix} start 即可重新排队。",
        "zh-TW": "等候逾時，仍沒有客服能為您服務。傳送 {prefix} start 即可重新排隊。",
        "en": "No agent became free in time. Send {prefix} start to rejoin the queue.",
        "ja": "時間内に担当者におつなぎできませんでした。{prefix} start と送信すると、もう一度順番待ちに入れます。",
    },
    "status.4_command": {
        "zh-CN": "您的排队已中断，发送 {prefix} start 即可重新排队。",
        "zh-TW": "您的排隊已中斷，傳送 {prefix} start 即可重新排隊。",
        "en": "Your place in the queue was lost. Send {prefix} start to rejoin the queue.",
        "ja": "順番待ちが途切れました。{prefix} start と送信すると、もう一度順番待ちに入れます。",
    },
    "status.other_command": {
        "zh-CN": "排队因未知状态 {code} 而结束。发送 {prefix} start 即可重新排队；若仍不行，请告知管理员。",
        "zh-TW": "排隊因未知狀態 {code} 而結束。傳送 {prefix} start 即可重新排隊；若仍不行，請告知管理員。",
        "en": "Queueing ended with the unknown status {code}. Send {prefix} start to rejoin the queue; if that fails too, tell an administrator.",
        "ja": "順番待ちが不明な状態 {code} で終了しました。{prefix} start と送信すると、もう一度順番待ちに入れます。続く場合は管理者にご連絡ください。",
    },
    "status.other_paused": {
        "zh-CN": "排队因未知状态 {code} 而结束；本房间的服务目前已暂停。管理员可发送 {prefix} resume 恢复。",
        "zh-TW": "排隊因未知狀態 {code} 而結束；這個聊天室的服務目前已暫停。管理員可傳送 {prefix} resume 恢復服務。",
        "en": "Queueing ended with the unknown status {code}, and this room is paused at the moment. A room admin can send {prefix} resume.",
        "ja": "順番待ちが不明な状態 {code} で終了しました。このルームは一時停止中です。ルームの管理者が {prefix} resume と送信すると再開します。",
    },
    "result.-10_command": {
        "zh-CN": "您的排队已失效，发送 {prefix} start 即可重新排队。",
        "zh-TW": "您的排隊已失效，傳送 {prefix} start 即可重新排隊。",
        "en": "Your place in the queue is gone. Send {prefix} start to get a new one.",
        "ja": "順番待ちが無効になりました。{prefix} start と送信すると、もう一度順番待ちに入れます。",
    },
    "result.-11_command": {
        "zh-CN": "本次对话已结束，发送 {prefix} start 即可重新开始。",
        "zh-TW": "本次對話已結束，傳送 {prefix} start 即可重新開始。",
        "en": "This chat has ended. Send {prefix} start to begin a new one.",
        "ja": "このチャットは終了しています。{prefix} start と送信すると、新しいチャットが始まります。",
    },
    # --- asking for a chat ----------------------------------------------------------------------
    "start.needed": {
        "zh-CN": "消息已为您保留。发送 {prefix} start 即可联系客服。",
        "zh-TW": "已為您保留這則訊息。傳送 {prefix} start 即可聯絡客服。",
        "en": "Your message is kept. Send {prefix} start to reach an agent.",
        "ja": "メッセージをお預かりしました。{prefix} start と送信すると担当者におつなぎします。",
    },
    "start.needed_still": {
        "zh-CN": "还没有联系客服：已为您保留 {count} 条消息，发送 {prefix} start 后才会转给客服。",
        "zh-TW": "還沒有聯絡客服：已為您保留 {count} 則訊息，傳送 {prefix} start 後才會轉給客服。",
        "en": "No agent has been asked for yet. Messages kept for you: {count}. Send {prefix} start to reach an agent.",
        "ja": "まだ担当者を呼び出していません。メッセージ{count}件をお預かりしています。{prefix} start と送信すると担当者におつなぎします。",
    },
    "start.already_queued": {
        "zh-CN": "您已经在排队了。",
        "zh-TW": "您已經在排隊了。",
        "en": "You are already waiting for an agent.",
        "ja": "すでに順番待ちに入っています。",
    },
    "start.other_queue": {
        "zh-CN": "您正在「{queue}」排队。如需改到「{other}」，请先发送 {prefix} cancel，再发送 {prefix} start {other}。",
        "zh-TW": "您正在「{queue}」排隊。如需改到「{other}」，請先傳送 {prefix} cancel，再傳送 {prefix} start {other}。",
        "en": "You are already waiting for {queue}. To change to {other}, send {prefix} cancel first, then {prefix} start {other}.",
        "ja": "現在「{queue}」の順番待ち中です。「{other}」に変更するには、先に {prefix} cancel、続いて {prefix} start {other} と送信してください。",
    },
    "start.leaving": {
        "zh-CN": "正在为您退出排队。请稍后再发送 {prefix} start。",
        "zh-TW": "正在為您退出排隊。請稍後再傳送 {prefix} start。",
        "en": "You are just leaving the queue. Send {prefix} start again in a moment.",
        "ja": "順番待ちをやめる手続き中です。少し待ってから、もう一度 {prefix} start と送信してください。",
    },
    "start.already_chatting": {
        "zh-CN": "您已经在与客服对话了，直接发消息即可。",
        "zh-TW": "您已經在與客服對話了，直接傳訊息即可。",
        "en": "You are already in a chat: just write.",
        "ja": "すでに担当者とチャット中です。そのままメッセージをお送りください。",
    },
    "cancel.nothing": {
        "zh-CN": "您现在没有在排队。",
        "zh-TW": "您目前沒有在排隊。",
        "en": "You are not waiting in a queue.",
        "ja": "順番待ちには入っていません。",
    },
    "cancel.chatting": {
        "zh-CN": "客服已经接通。要结束对话，请发送 {prefix} close。",
        "zh-TW": "客服已經接通。要結束對話，請傳送 {prefix} close。",
        "en": "The chat has begun already. To end it, send {prefix} close.",
        "ja": "すでにチャットが始まっています。終了するには {prefix} close と送信してください。",
    },
    "cancel.refused": {
        "zh-CN": "客服系统没有接受退出排队（代码 {code}），您仍在排队中。",
        "zh-TW": "客服系統沒有接受退出排隊（代碼 {code}），您仍在排隊中。",
        "en": "The call centre would not let you leave (code {code}); you are still in the queue.",
        "ja": "順番待ちをやめられませんでした（コード {code}）。引き続き順番待ち中です。",
    },
}
