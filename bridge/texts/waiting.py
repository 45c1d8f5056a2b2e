"""Sentences for those who wait: trend and expectation on the queue card, and being called back."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    # --- the queue card: its first line without a place, and the parts of its second line ---------
    "queue.waiting": {
        "zh-CN": "⏳ 「{queue}」排队中。您可以先留言，客服接入后会看到；加 ❌ 或发送 {prefix} cancel 可退出排队。",
        "zh-TW": "⏳ 「{queue}」排隊中。您可以先留言，客服接入後會看到；加上 ❌ 或傳送 {prefix} cancel 可退出排隊。",
        "en": "⏳ Waiting for {queue}. You may write already, the agent will see it. ❌ on this message, or {prefix} cancel, leaves the queue.",
        "ja": "⏳ 「{queue}」の順番待ち中です。待っている間に送ったメッセージも担当者に届きます。やめるときは、このメッセージに ❌ を付けるか {prefix} cancel と送信してください。",
    },
    "queue.up": {
        "zh-CN": "▲ {time}内前进 {places} 位",
        "zh-TW": "▲ {time}內前進 {places} 位",
        "en": "▲ up by {places} in {time}",
        "ja": "▲ {time}で{places}人分進みました",
    },
    "queue.down": {
        "zh-CN": "▼ {time}内后退 {places} 位",
        "zh-TW": "▼ {time}內後退 {places} 位",
        "en": "▼ back by {places} in {time}",
        "ja": "▼ {time}で{places}人分下がりました",
    },
    "queue.unchanged": {
        "zh-CN": "位置 {time}未变",
        "zh-TW": "位置 {time}未變",
        "en": "no change for {time}",
        "ja": "{time}変わっていません",
    },
    "queue.expected": {
        "zh-CN": "预计还需：{wait}（仅供参考）",
        "zh-TW": "預計還需：{wait}（僅供參考）",
        "en": "expected from here: {wait} (an estimate)",
        "ja": "あと{wait}の見込み（目安）",
    },
    "queue.longer": {
        "zh-CN": "比平时等得久，请谅解",
        "zh-TW": "比平時等得久，請見諒",
        "en": "it takes longer than usual, sorry",
        "ja": "いつもより時間がかかっています。申し訳ありません",
    },
    "queue.waited": {
        "zh-CN": "已等候 {time}",
        "zh-TW": "已等候 {time}",
        "en": "waiting for {time}",
        "ja": "お待ちいただいた時間：{time}",
    },
    "queue.next": {
        "zh-CN": "下一位就是您，请留意本聊天。",
        "zh-TW": "下一位就是您，請留意本聊天。",
        "en": "You are next: please keep an eye on this chat.",
        "ja": "次がお客様の番です。このチャットをご確認ください。",
    },
    # --- being called back ----------------------------------------------------------------------
    "callback.offer": {
        "zh-CN": "🔔 要我们稍后联系您吗？给这条消息加 🔔，或发送 {prefix} callback：我们会继续为您联系「{queue}」，有客服时在这里通知您。",
        "zh-TW": "🔔 要我們稍後聯絡您嗎？對這則訊息加上 🔔，或傳送 {prefix} callback：我們會繼續為您聯絡「{queue}」，有客服時在這裡通知您。",
        "en": "🔔 Shall we call you back? React to this message with 🔔, or send {prefix} callback: we keep asking {queue} for you, and you get a ping here once an agent is there.",
        "ja": "🔔 後ほどこちらからご連絡しましょうか。このメッセージに 🔔 を付けるか {prefix} callback を送ると、「{queue}」への問い合わせを続け、担当者が対応できるようになったらここでお知らせします。",
    },
    "callback.offer_hours": {
        "zh-CN": "🔔 要我们稍后联系您吗？给这条消息加 🔔，或发送 {prefix} callback：「{queue}」开始服务时（{opens}）我们会为您排队，有客服时在这里通知您。",
        "zh-TW": "🔔 要我們稍後聯絡您嗎？對這則訊息加上 🔔，或傳送 {prefix} callback：「{queue}」開始服務時（{opens}）我們會為您排隊，有客服時在這裡通知您。",
        "en": "🔔 Shall we call you back? React to this message with 🔔, or send {prefix} callback: we queue for you when {queue} opens ({opens}), and you get a ping here once an agent is there.",
        "ja": "🔔 後ほどこちらからご連絡しましょうか。このメッセージに 🔔 を付けるか {prefix} callback を送ると、「{queue}」の受付開始時（{opens}）に順番をお取りし、担当者が対応できるようになったらここでお知らせします。",
    },
    "callback.promised": {
        "zh-CN": "🔔 好的。我们会继续为您联系「{queue}」（最多 {hours} 小时），有客服时在这里通知您，您留的消息会一并送达。加 ❌ 或发送 {prefix} cancel 可取消。",
        "zh-TW": "🔔 好的。我們會繼續為您聯絡「{queue}」（最多 {hours} 小時），有客服時在這裡通知您，您留的訊息會一併送達。加上 ❌ 或傳送 {prefix} cancel 可取消。",
        "en": "🔔 We will call you back: we keep asking {queue} (for {hours} h at most), and you get a ping here once an agent is there. What you have written goes along. ❌ on this message, or {prefix} cancel, ends this.",
        "ja": "🔔 承知しました。最長{hours}時間「{queue}」への問い合わせを続け、担当者が対応できるようになったらここでお知らせします。お書きいただいた内容も一緒に届きます。このメッセージに ❌ を付けるか {prefix} cancel を送ると取り消せます。",
    },
    "callback.promised_hours": {
        "zh-CN": "🔔 好的。「{queue}」开始服务时（{opens}）我们会为您排队，有客服时在这里通知您，您留的消息会一并送达。加 ❌ 或发送 {prefix} cancel 可取消。",
        "zh-TW": "🔔 好的。「{queue}」開始服務時（{opens}）我們會為您排隊，有客服時在這裡通知您，您留的訊息會一併送達。加上 ❌ 或傳送 {prefix} cancel 可取消。",
        "en": "🔔 We will call you back: we queue for you when {queue} opens ({opens}), and you get a ping here once an agent is there. What you have written goes along. ❌ on this message, or {prefix} cancel, ends this.",
        "ja": "🔔 承知しました。「{queue}」の受付開始時（{opens}）に順番をお取りし、担当者が対応できるようになったらここでお知らせします。お書きいただいた内容も一緒に届きます。このメッセージに ❌ を付けるか {prefix} cancel を送ると取り消せます。",
    },
    "callback.off": {
        "zh-CN": "这里没有「稍后联系」服务。发送 {prefix} start 可联系客服。",
        "zh-TW": "這裡沒有「稍後聯絡」服務。傳送 {prefix} start 可聯絡客服。",
        "en": "There is no call-back here. Send {prefix} start to ask for an agent.",
        "ja": "こちらからのご連絡は行っておりません。{prefix} start を送ると担当者におつなぎします。",
    },
    "callback.noted": {
        "zh-CN": "🔔 好的。如果这次没有客服接入，我们会继续为您联系。",
        "zh-TW": "🔔 好的。如果這次沒有客服接入，我們會繼續為您聯絡。",
        "en": "🔔 Noted: if nobody comes this time, we keep asking and will call you back.",
        "ja": "🔔 承知しました。今回担当者につながらない場合も、引き続き問い合わせてご連絡します。",
    },
    "callback.goes_on": {
        "zh-CN": "🔔 我们会继续为您联系，有客服时在这里通知您。发送 {prefix} cancel 可取消。",
        "zh-TW": "🔔 我們會繼續為您聯絡，有客服時在這裡通知您。傳送 {prefix} cancel 可取消。",
        "en": "🔔 We keep asking for you and will call you back. {prefix} cancel ends this.",
        "ja": "🔔 引き続き問い合わせて、こちらからご連絡します。{prefix} cancel を送ると取り消せます。",
    },
    "callback.hopeless": {
        "zh-CN": "🔕 因此我们无法再为您联系客服。",
        "zh-TW": "🔕 因此我們無法再為您聯絡客服。",
        "en": "🔕 So we cannot call you back.",
        "ja": "🔕 このため、こちらからのご連絡はできません。",
    },
    "callback.cancelled": {
        "zh-CN": "🔕 已取消，我们不会再联系您。需要时再发一条消息即可。",
        "zh-TW": "🔕 已取消，我們不會再聯絡您。需要時再傳一則訊息即可。",
        "en": "🔕 We will not call you back. Write again whenever you like.",
        "ja": "🔕 ご連絡を取り消しました。ご用の際は、またメッセージをお送りください。",
    },
    "callback.cancelled_leaving": {
        "zh-CN": "🔕 好的，正在为您退出排队，我们也不会再联系您。",
        "zh-TW": "🔕 好的，正在為您退出排隊，我們也不會再聯絡您。",
        "en": "🔕 You are leaving the queue, and we will not call you back either.",
        "ja": "🔕 順番待ちをやめる手続きをしています。こちらからのご連絡も取り消しました。",
    },
    "callback.given_up": {
        "zh-CN": "🔕 很抱歉，这么久都没有客服在线，我们不再继续联系。需要时请再发一条消息。",
        "zh-TW": "🔕 很抱歉，這麼久都沒有客服在線上，我們不再繼續聯絡。需要時請再傳一則訊息。",
        "en": "🔕 Sorry: no agent could be reached for so long that we have stopped asking. Please write again if you still need help.",
        "ja": "🔕 申し訳ありません。長い間担当者につながらなかったため、問い合わせを終了しました。引き続きご用の場合は、もう一度メッセージをお送りください。",
    },
    "usage.callback": {
        "zh-CN": "用法：{prefix} callback — 有客服时通知您",
        "zh-TW": "用法：{prefix} callback — 有客服時通知您",
        "en": "Usage: {prefix} callback — be called once an agent is there",
        "ja": "使い方：{prefix} callback — 担当者が対応できるようになったらお知らせします",
    },
    "command.status_callback": {
        "zh-CN": "我们正在为您联系「{queue}」，有客服时会通知您。保留的消息：{waiting} 条。",
        "zh-TW": "我們正在為您聯絡「{queue}」，有客服時會通知您。保留的訊息：{waiting} 則。",
        "en": "We keep asking {queue} for you and will call you back. Messages kept: {waiting}.",
        "ja": "「{queue}」への問い合わせを続けており、担当者が対応できるようになったらお知らせします。お預かりしているメッセージ：{waiting}件。",
    },
}
