"""Sentences about encryption that the operator wishes or demands (`bridge.encryption`)."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "encrypting.turned_on": {
        "zh-CN": "🔒 我已为这个房间开启加密。从现在起，只有房间里的人和本服务能读到这里的内容。",
        "zh-TW": "🔒 我已為這個聊天室開啟加密。從現在起，只有聊天室裡的人和本服務能讀到這裡的內容。",
        "en": "🔒 I have turned on encryption in this room. From now on only the people in it and this service can read what is written here.",
        "ja": "🔒 このルームの暗号化をオンにしました。これからは、ルームにいる人とこのサービスだけが内容を読めます。",
    },
    "encrypting.needed": {
        "zh-CN": "🔓 这个房间没有加密，而这里只转达加密消息。请在房间设置的「安全与隐私」里开启加密，或者与我新建一个聊天，然后再发消息。",
        "zh-TW": "🔓 這個聊天室沒有加密，而這裡只轉達加密訊息。請在聊天室設定的「安全與隱私」裡開啟加密，或者與我建立新的聊天，然後再傳訊息。",
        "en": "🔓 This room is not encrypted, and only encrypted messages are passed on here. Please turn on encryption in the room's settings under “Security & Privacy”, or start a new chat with me; then write.",
        "ja": "🔓 このルームは暗号化されていません。ここでは暗号化されたメッセージだけをお取り次ぎします。ルーム設定の「セキュリティーとプライバシー」で暗号化をオンにするか、新しいチャットを始めてから、メッセージをお送りください。",
    },
    "encrypting.refused": {
        "zh-CN": "🔓 没有送达：这条消息没有加密，而这里只转达加密消息。请在房间设置的「安全与隐私」里开启加密，或者与我新建一个聊天，然后重新发送。",
        "zh-TW": "🔓 沒有送達：這則訊息沒有加密，而這裡只轉達加密訊息。請在聊天室設定的「安全與隱私」裡開啟加密，或者與我建立新的聊天，然後重新傳送。",
        "en": "🔓 Not delivered: this message was not encrypted, and only encrypted messages are passed on here. Please turn on encryption in the room's settings under “Security & Privacy”, or start a new chat with me, and send it again.",
        "ja": "🔓 届いていません：このメッセージは暗号化されていませんでした。ここでは暗号化されたメッセージだけをお取り次ぎします。ルーム設定の「セキュリティーとプライバシー」で暗号化をオンにするか、新しいチャットを始めてから、もう一度お送りください。",
    },
    "encrypting.refused_here": {
        "zh-CN": "🔓 没有送达：这条消息发送时没有加密。房间现在已加密，请重新发送。",
        "zh-TW": "🔓 沒有送達：這則訊息傳送時沒有加密。聊天室現在已加密，請重新傳送。",
        "en": "🔓 Not delivered: this message was sent without encryption. The room is encrypted now; please send it again.",
        "ja": "🔓 届いていません：このメッセージは暗号化されずに送信されました。ルームは現在暗号化されています。もう一度お送りください。",
    },
    "encrypting.not_shown": {
        "zh-CN": "🔓 {name} 给您发了消息，但这个房间没有加密，所以没有在这里显示。请在房间设置里开启加密，再请 {name} 重新发送。",
        "zh-TW": "🔓 {name} 傳了訊息給您，但這個聊天室沒有加密，所以沒有在這裡顯示。請在聊天室設定裡開啟加密，再請 {name} 重新傳送。",
        "en": "🔓 {name} wrote to you, but this room is not encrypted, so it is not shown here. Please turn on encryption in the room's settings, and ask {name} to send it again.",
        "ja": "🔓 {name} さんからメッセージがありましたが、このルームは暗号化されていないため表示していません。ルーム設定で暗号化をオンにしてから、{name} さんに再送を頼んでください。",
    },
}
