"""Sentences about a room being served or not: the welcome, and why somebody is turned away."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "room.welcome": {
        "zh-CN": "您好！这里连接「{queue}」的人工客服。直接发消息即可开始；发送 {prefix} help 查看可用命令。",
        "zh-TW": "您好！這裡可以聯絡「{queue}」的真人客服。直接傳訊息即可開始；傳送 {prefix} help 可查看所有指令。",
        "en": "Hello! This room reaches the agents of {queue}. Just write to begin; send {prefix} help for what else you can do.",
        "ja": "こんにちは。このルームから「{queue}」の担当者とチャットできます。メッセージを送ると始まります。使い方は {prefix} help でご覧いただけます。",
    },
    "room.welcome_command": {
        "zh-CN": "您好！这里连接「{queue}」的人工客服。发送 {prefix} start 即可开始；发送 {prefix} help 查看可用命令。",
        "zh-TW": "您好！這裡可以聯絡「{queue}」的真人客服。傳送 {prefix} start 即可開始；傳送 {prefix} help 可查看所有指令。",
        "en": "Hello! This room reaches the agents of {queue}. Send {prefix} start to begin, and {prefix} help for what else you can do.",
        "ja": "こんにちは。このルームから「{queue}」の担当者とチャットできます。{prefix} start と送信すると始まります。使い方は {prefix} help でご覧いただけます。",
    },
    "room.welcome_paused": {
        "zh-CN": "您好！这里连接「{queue}」的人工客服，但本房间的服务目前已暂停。管理员可发送 {prefix} resume 恢复；发送 {prefix} help 查看可用命令。",
        "zh-TW": "您好！這裡可以聯絡「{queue}」的真人客服，但這個聊天室的服務目前已暫停。管理員可傳送 {prefix} resume 恢復服務；傳送 {prefix} help 可查看所有指令。",
        "en": "Hello! This room reaches the agents of {queue}, but is paused at the moment. A room admin can send {prefix} resume; send {prefix} help for what else you can do.",
        "ja": "こんにちは。このルームから「{queue}」の担当者とチャットできますが、ただいま一時停止中です。ルームの管理者が {prefix} resume と送信すると再開します。使い方は {prefix} help でご覧いただけます。",
    },
    "room.host_here": {
        "zh-CN": "本房间已经连接客服，不需要再邀请其他账号。",
        "zh-TW": "這個聊天室已經連接客服，不需要再邀請其他帳號。",
        "en": "This room is connected already; no other account of ours needs to be here.",
        "ja": "このルームはすでにコールセンターにつながっています。ほかのアカウントを招待する必要はありません。",
    },
    "agents.not_invited": {
        "zh-CN": "这个账号代表一位客服，不能直接邀请或私聊。请直接与 {bot} 聊天，由它为您联系客服。",
        "zh-TW": "這個帳號代表一位客服，不能直接邀請或私聊。請直接與 {bot} 聊天，由它為您聯絡客服。",
        "en": "This account stands for an agent and cannot be written to directly. Please start a chat with {bot}, which reaches the agents.",
        "ja": "このアカウントは担当者を表すもので、直接メッセージを送ることはできません。{bot} とのチャットを始めると、担当者におつなぎします。",
    },
    "room.shared": {
        "zh-CN": "现在还有其他人在这个聊天里：从现在起，客服会看到每条消息是谁发的；命令前要加 {prefix}，例如 {prefix} status。",
        "zh-TW": "現在還有其他人在這個聊天裡：從現在起，客服會看到每則訊息是誰傳的；指令前要加上 {prefix}，例如 {prefix} status。",
        "en": "Somebody else is in this chat now. From here on the agent sees who wrote what, and commands begin with {prefix}, such as {prefix} status.",
        "ja": "このチャットにほかの方が加わりました。これ以降は、誰のメッセージかが担当者に表示されます。コマンドには、{prefix} status のように {prefix} を付けてください。",
    },
    "room.upgraded": {
        "zh-CN": "房间已升级。请在新房间里重新邀请我。",
        "zh-TW": "聊天室已升級。請在新的聊天室重新邀請我。",
        "en": "This room was upgraded. Please invite me in the new one.",
        "ja": "このルームはアップグレードされました。新しいルームでもう一度招待してください。",
    },
    "room.upgraded_unsent": {
        "zh-CN": "房间已升级，所以这条消息没有送给客服。请在新房间里再写一遍。",
        "zh-TW": "聊天室已升級，所以這則訊息沒有送給客服。請在新的聊天室再寫一次。",
        "en": "This room was upgraded, so this message did not go to an agent. Please write it again in the new one.",
        "ja": "このルームがアップグレードされたため、このメッセージは担当者に届いていません。新しいルームでもう一度お書きください。",
    },
    "refused.permission": {
        "zh-CN": "抱歉，{user} 没有使用本服务的权限。请联系服务器管理员。",
        "zh-TW": "抱歉，{user} 沒有使用本服務的權限。請聯絡伺服器管理員。",
        "en": "Sorry, {user} may not use this service. Please ask the server's administrator.",
        "ja": "申し訳ありませんが、{user} さんはこのサービスを利用できません。サーバーの管理者にお問い合わせください。",
    },
    "refused.too_many_rooms": {
        "zh-CN": "抱歉，每人最多 {limit} 个房间。请先离开一个旧房间再邀请我。",
        "zh-TW": "抱歉，每人最多 {limit} 個聊天室。請先離開一個舊的聊天室再邀請我。",
        "en": "Sorry, rooms per person are limited to {limit}. Please leave another one and invite me again.",
        "ja": "申し訳ありませんが、ご利用いただけるルームは一人{limit}個までです。使っていないルームを退出してから、もう一度招待してください。",
    },
    "refused.too_many_new_rooms": {
        "zh-CN": "抱歉，每人每小时最多新开 {limit} 个房间。请在 {left}后再邀请我；已有的房间照常可用。",
        "zh-TW": "抱歉，每人每小時最多新開 {limit} 個聊天室。請在 {left}後再邀請我；已有的聊天室照常可用。",
        "en": "Sorry, new rooms are limited to {limit} per person and hour. Please invite me again in {left}, or write in a room that you have.",
        "ja": "申し訳ありませんが、新しいルームは一人1時間に{limit}個までです。{left}後にもう一度招待していただくか、すでにあるルームをご利用ください。",
    },
    "refused.not_admin": {
        "zh-CN": "只有房间管理员（权限等级 50 以上）才能更改设置。",
        "zh-TW": "只有聊天室管理員（權限等級 50 以上）才能變更設定。",
        "en": "Only a room admin (power level 50 or more) may change this.",
        "ja": "設定を変更できるのはルームの管理者（権限レベル50以上）だけです。",
    },
    "refused.standing_unknown": {
        "zh-CN": "暂时无法确认您的权限等级，设置未更改。请稍后再试。",
        "zh-TW": "暫時無法確認您的權限等級，設定未變更。請稍後再試。",
        "en": "Your power level cannot be checked at the moment, so nothing was changed. Please try again.",
        "ja": "ただいま権限レベルを確認できないため、設定は変更していません。しばらくしてからもう一度お試しください。",
    },
}
