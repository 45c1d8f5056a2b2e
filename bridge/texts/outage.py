"""After an outage: what was missed, and what may be."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "outage.away": {
        "zh-CN": "⚠️ 与客服系统的连接已中断一段时间，正在不断重试。恢复后对话会继续，您也可以照常留言。",
        "zh-TW": "⚠️ 與客服系統的連線已中斷一段時間，正在不斷重試。恢復後對話會繼續，您也可以照常留言。",
        "en": "⚠️ The connection to the call centre has been down for a while, and we keep trying. Your chat goes on when it is back; you can write all the same.",
        "ja": "⚠️ コールセンターとの接続がしばらく切れており、再接続を続けています。復旧するとチャットが再開します。その間もメッセージを送信できます。",
    },
    "outage.late": {
        "zh-CN": "🕘 发送于 {time}：",
        "zh-TW": "🕘 傳送於 {time}：",
        "en": "🕘 Sent at {time}:",
        "ja": "🕘 {time} に送信：",
    },
    "outage.late_some_time": {
        "zh-CN": "🕘 在连接中断期间发送：",
        "zh-TW": "🕘 在連線中斷期間傳送：",
        "en": "🕘 Sent while the connection was down:",
        "ja": "🕘 接続が切れている間に送信：",
    },
    "outage.unsure": {
        "zh-CN": "与客服系统的连接中断过一段时间。客服在此期间发送的消息可能没有显示在这里。如果觉得缺了回复，请再问一次。",
        "zh-TW": "與客服系統的連線中斷過一段時間。客服在此期間傳送的訊息可能沒有顯示在這裡。如果覺得缺少回覆，請再問一次。",
        "en": "The connection to the call centre was down for a while. What the agent wrote in that time may be missing here. If you miss an answer, please ask again.",
        "ja": "コールセンターとの接続がしばらく切れていました。その間に担当者が送ったメッセージは、ここに表示されていない可能性があります。返事が届いていないと思われる場合は、もう一度お尋ねください。",
    },
}
