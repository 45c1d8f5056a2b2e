"""Replies to a message of a customer's that was not delivered: why not, and what to do."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "undelivered.blank": {
        "zh-CN": "这条消息没有内容，未发送。",
        "zh-TW": "這則訊息沒有內容，未傳送。",
        "en": "This message is empty, so it was not sent.",
        "ja": "メッセージが空のため、送信しませんでした。",
    },
    "undelivered.like_command": {
        "zh-CN": "这条消息看起来像命令，所以没有送给客服。\n{usage}\n如果确实是要对客服说的：",
        "zh-TW": "這則訊息看起來像指令，所以沒有送給客服。\n{usage}\n如果確實是要對客服說的：",
        "en": "This reads like a command, so it did not go to an agent.\n{usage}\nIf it is meant for an agent all the same:",
        "ja": "コマンドのように見えるため、このメッセージは担当者に届いていません。\n{usage}\n担当者へのメッセージの場合：",
    },
    "undelivered.cancelled": {
        "zh-CN": "您已退出排队，这条消息没有送给客服。",
        "zh-TW": "您已退出排隊，這則訊息沒有送給客服。",
        "en": "You left the queue, so this message did not go to an agent.",
        "ja": "順番待ちをやめたため、このメッセージは担当者に届いていません。",
    },
    "undelivered.dropped": {
        "zh-CN": "已按您的要求放弃，这条消息没有送给客服。",
        "zh-TW": "已依您的要求放棄，這則訊息沒有送給客服。",
        "en": "Dropped as you wished: this message did not go to an agent.",
        "ja": "ご希望により破棄しました。このメッセージは担当者に届いていません。",
    },
    "undelivered.closed": {
        "zh-CN": "对话在此之前已结束，这条消息没有送给客服。如仍需要，请重新发送。",
        "zh-TW": "對話在此之前已結束，這則訊息沒有送給客服。如仍需要，請重新傳送。",
        "en": "The chat had ended before, so this message did not reach the agent. Send it again if you still need to.",
        "ja": "その前にチャットが終了していたため、このメッセージは担当者に届いていません。必要であれば、もう一度お送りください。",
    },
    "undelivered.expired": {
        "zh-CN": "等待时间太长，这条消息没有送达。如仍需要，请重新发送。",
        "zh-TW": "等候時間太長，這則訊息沒有送達。如仍需要，請重新傳送。",
        "en": "This message waited too long and was not delivered. Send it again if you still need to.",
        "ja": "待ち時間が長すぎたため、このメッセージは届いていません。必要であれば、もう一度お送りください。",
    },
    "undelivered.uncertain": {
        "zh-CN": "客服系统没有确认收到这条消息，它可能已送达，也可能没有。请问一下客服，或重新发送。",
        "zh-TW": "客服系統沒有確認收到這則訊息，它可能已送達，也可能沒有。請向客服確認，或重新傳送。",
        "en": "The call centre did not confirm this message: it may or may not have arrived. Ask the agent, or send it again.",
        "ja": "コールセンターから受信の確認がなく、このメッセージが届いたかどうか分かりません。担当者に確認するか、もう一度お送りください。",
    },
    "undelivered.refused": {
        "zh-CN": "客服系统拒绝了这条消息（代码 {code}），没有送达。若再次发送仍不行，请将此代码告知管理员。",
        "zh-TW": "客服系統拒絕了這則訊息（代碼 {code}），沒有送達。若再次傳送仍不行，請將此代碼告知管理員。",
        "en": "The call centre refused this message (code {code}); it was not delivered. If it fails again, tell an administrator the code.",
        "ja": "このメッセージはコールセンターに受け付けられず（コード {code}）、届いていません。もう一度送っても届かない場合は、このコードを管理者にお伝えください。",
    },
    "undelivered.server_failed": {
        "zh-CN": "客服系统出错，这条消息没有送达。请稍后重新发送。",
        "zh-TW": "客服系統發生錯誤，這則訊息沒有送達。請稍後重新傳送。",
        "en": "The call centre had an error, so this message was not delivered. Please send it again later.",
        "ja": "コールセンターでエラーが起き、このメッセージは届いていません。しばらくしてからもう一度お送りください。",
    },
    "undelivered.not_understood": {
        "zh-CN": "客服系统无法识别这条消息，没有送达。请换一种方式发送；若仍不行，请联系管理员。",
        "zh-TW": "客服系統無法辨識這則訊息，沒有送達。請換個方式傳送；若仍不行，請聯絡管理員。",
        "en": "The call centre did not understand this message, so it was not delivered. Please put it another way; if that fails too, tell an administrator.",
        "ja": "このメッセージはコールセンターで読み取れず、届いていません。別の形でお送りになるか、続く場合は管理者にご連絡ください。",
    },
    "undelivered.no_chat": {
        "zh-CN": "客服系统中已没有这次对话，这条消息没有送达。请重新发送，会为您重新联系客服。",
        "zh-TW": "客服系統中已沒有這次對話，這則訊息沒有送達。請重新傳送，會再為您聯絡客服。",
        "en": "The call centre no longer has this chat, so this message was not delivered. Send it again to ask for a new one.",
        "ja": "コールセンターにはこのチャットがもうないため、メッセージは届いていません。もう一度送ると、新しいチャットを始められます。",
    },
    "undelivered.no_chat_command": {
        "zh-CN": "客服系统中已没有这次对话，这条消息没有送达。发送 {prefix} start 会为您重新联系客服，然后请重新发送这条消息。",
        "zh-TW": "客服系統中已沒有這次對話，這則訊息沒有送達。傳送 {prefix} start 會再為您聯絡客服，然後請重新傳送這則訊息。",
        "en": "The call centre no longer has this chat, so this message was not delivered. Send {prefix} start to ask for a new one, then send this again.",
        "ja": "コールセンターにはこのチャットがもうないため、メッセージは届いていません。{prefix} start と送信して新しいチャットを始めてから、もう一度お送りください。",
    },
    "undelivered.too_big": {
        "zh-CN": "这条消息太大，客服系统无法接收，文件和附言都没有送达。请发送小一些的内容。",
        "zh-TW": "這則訊息太大，客服系統無法接收，檔案和附言都沒有送達。請傳送小一點的內容。",
        "en": "This is too big for the call centre: nothing of it was delivered, a file's caption neither. Please send something smaller.",
        "ja": "大きすぎるため、ファイルも添えた文章も届いていません。もう少し小さくしてお送りください。",
    },
    "undelivered.too_big_limit": {
        "zh-CN": "文件太大，最大为 {limit}；文件和附言都没有送达。请发送小一些的文件。",
        "zh-TW": "檔案太大，最大為 {limit}；檔案和附言都沒有送達。請傳送小一點的檔案。",
        "en": "This file is too big (the limit is {limit}): neither it nor its caption was delivered. Please send a smaller one.",
        "ja": "ファイルが大きすぎるため（上限は {limit}）、ファイルも添えた文章も届いていません。もう少し小さいファイルをお送りください。",
    },
    "undelivered.upload_status": {
        "zh-CN": "客服系统没有收下这个文件（HTTP {status}），文件和附言都没有送达。若再次发送仍不行，请将此代码告知管理员。",
        "zh-TW": "客服系統沒有收下這個檔案（HTTP {status}），檔案和附言都沒有送達。若再次傳送仍不行，請將此代碼告知管理員。",
        "en": "The call centre's server did not take this file (HTTP {status}): neither it nor its caption was delivered. If it fails again, tell an administrator the number.",
        "ja": "コールセンターのサーバーがファイルを受け取らず（HTTP {status}）、ファイルも添えた文章も届いていません。もう一度送っても届かない場合は、この番号を管理者にお伝えください。",
    },
    "undelivered.upload_unclear": {
        "zh-CN": "客服系统没有确认收到这个文件，文件和附言都没有送达。若再次发送仍不行，请联系管理员。",
        "zh-TW": "客服系統沒有確認收到這個檔案，檔案和附言都沒有送達。若再次傳送仍不行，請聯絡管理員。",
        "en": "The call centre's server gave no clear answer to this file: neither it nor its caption was delivered. If it fails again, tell an administrator.",
        "ja": "ファイルに対するコールセンターのサーバーの応答が読み取れず、ファイルも添えた文章も届いていません。もう一度送っても届かない場合は、管理者にご連絡ください。",
    },
    "undelivered.extension": {
        "zh-CN": "客服系统不接收这种文件，没有送达。可以发送：{allowed}。",
        "zh-TW": "客服系統不接收這種檔案，沒有送達。可以傳送：{allowed}。",
        "en": "The call centre does not take this kind of file, so it was not delivered. It takes: {allowed}.",
        "ja": "この種類のファイルは受け付けていないため、届いていません。送信できるファイル：{allowed}",
    },
    "undelivered.media_gone": {
        "zh-CN": "无法从您的服务器取得这个文件，没有送达。请重新发送。",
        "zh-TW": "無法從您的伺服器取得這個檔案，沒有送達。請重新傳送。",
        "en": "Your homeserver no longer gives out this file, so it was not delivered. Please send it again.",
        "ja": "お使いのサーバーからファイルを取得できず、届いていません。もう一度お送りください。",
    },
    "undelivered.media_changed": {
        "zh-CN": "这个加密文件无法解密：内容已损坏或被改动，没有送达。请重新发送。",
        "zh-TW": "這個加密檔案無法解密：內容已損壞或遭到更動，沒有送達。請重新傳送。",
        "en": "This encrypted file could not be decrypted: it is damaged or was changed, so it was not delivered. Please send it again.",
        "ja": "この暗号化ファイルは、壊れているか途中で変更されたため復号できず、届いていません。もう一度お送りください。",
    },
    "undelivered.too_many": {
        "zh-CN": "等待发送的消息已达 {limit} 条，这条没有收下。请稍后再发。",
        "zh-TW": "等候傳送的訊息已達 {limit} 則，這則沒有收下。請稍後再傳。",
        "en": "{limit} messages are waiting already, so this one was not taken. Please send it again later.",
        "ja": "送信待ちのメッセージが{limit}件あるため、受け付けられませんでした。しばらくしてからもう一度お送りください。",
    },
    "undelivered.too_fast": {
        "zh-CN": "每分钟最多 {limit} 条消息，这条没有送达。请稍后再发。",
        "zh-TW": "每分鐘最多 {limit} 則訊息，這則沒有送達。請稍後再傳。",
        "en": "Messages a minute are limited to {limit}: this one was not delivered. Please send it again in a moment.",
        "ja": "送信できるのは1分に{limit}件までです。このメッセージは届いていません。少し待ってからもう一度お送りください。",
    },
    "undelivered.late_correction": {
        "zh-CN": "那次对话已经结束，这条更正没有送达。",
        "zh-TW": "那次對話已經結束，這則更正沒有送達。",
        "en": "That chat is over, so this correction was not delivered.",
        "ja": "そのチャットは終了しているため、この訂正は届いていません。",
    },
    "undelivered.farewell": {
        "zh-CN": "对话已经结束，所以这句话没有转给客服。如需再次咨询，直接写下您的问题，或发送 {prefix} start。",
        "zh-TW": "對話已經結束，所以這句話沒有轉給客服。如需再次諮詢，直接寫下您的問題，或傳送 {prefix} start。",
        "en": "The chat is over, so this was not passed on. If there is anything else, just write it, or send {prefix} start.",
        "ja": "チャットは終了しているため、担当者には伝えていません。ほかにご用件があれば、そのままお書きいただくか {prefix} start と送ってください。",
    },
    "undelivered.farewell_command": {
        "zh-CN": "对话已经结束，所以这句话没有转给客服。如需再次咨询，请发送 {prefix} start。",
        "zh-TW": "對話已經結束，所以這句話沒有轉給客服。如需再次諮詢，請傳送 {prefix} start。",
        "en": "The chat is over, so this was not passed on. If there is anything else, send {prefix} start.",
        "ja": "チャットは終了しているため、担当者には伝えていません。ほかにご用件があれば {prefix} start と送ってください。",
    },
    "undelivered.no_rating": {
        "zh-CN": "这里没有看到评分，所以这句话没有转给客服。可选的评分有：\n{options}",
        "zh-TW": "這裡沒有看到評分，所以這句話沒有轉給客服。可選的評分有：\n{options}",
        "en": "This answers the question for a rating but names none, so it was not passed on. These are the ratings:\n{options}",
        "ja": "評価が見当たらないため、このメッセージは担当者に伝えていません。評価は次の中からお選びください。\n{options}",
    },
    "undelivered.paused": {
        "zh-CN": "本房间的服务已暂停，这条消息没有送达。管理员可发送 {prefix} resume 恢复。",
        "zh-TW": "這個聊天室的服務已暫停，這則訊息沒有送達。管理員可傳送 {prefix} resume 恢復服務。",
        "en": "This room is paused, so this message was not delivered. A room admin can send {prefix} resume.",
        "ja": "このルームは一時停止中のため、届いていません。ルームの管理者が {prefix} resume と送信すると再開します。",
    },
    "undelivered.internal": {
        "zh-CN": "本服务处理这条消息时出错，没有送达。请重新发送；若再次出现，请联系管理员。",
        "zh-TW": "本服務處理這則訊息時發生錯誤，沒有送達。請重新傳送；若再次發生，請聯絡管理員。",
        "en": "Something went wrong on our side, and this message was not delivered. Please send it again, and tell an administrator if that fails too.",
        "ja": "処理中にエラーが発生し、このメッセージは届いていません。もう一度お送りください。続く場合は管理者にご連絡ください。",
    },
}
