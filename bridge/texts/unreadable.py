"""Replies to what a customer sent and we cannot read: encrypted, malformed, or of no use to agents."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    # --- encryption -----------------------------------------------------------------------------
    "encrypted.unsupported": {
        "zh-CN": "⚠️ 这个房间已加密，本服务没有启用加密功能，无法读取加密消息。请新建一个不加密的房间并邀请我。",
        "zh-TW": "⚠️ 這個聊天室已加密，本服務沒有啟用加密功能，無法讀取加密訊息。請建立一個不加密的聊天室並邀請我。",
        "en": "⚠️ This room is encrypted, and encryption is switched off here, so I cannot read encrypted messages. Please invite me to a room without encryption.",
        "ja": "⚠️ このルームは暗号化されていますが、このサービスでは暗号化が無効になっているため、メッセージを読めません。暗号化していないルームを作成して招待してください。",
    },
    "unreadable.encrypted": {
        "zh-CN": "这条消息是加密的，本服务没有启用加密功能，没有送达。请在不加密的房间里发送。",
        "zh-TW": "這則訊息是加密的，本服務沒有啟用加密功能，沒有送達。請在不加密的聊天室傳送。",
        "en": "This message is encrypted, and encryption is switched off here, so it was not delivered. Please write in a room without encryption.",
        "ja": "このメッセージは暗号化されていますが、このサービスでは暗号化が無効になっているため、届いていません。暗号化していないルームでお送りください。",
    },
    "unreadable.encrypted_file": {
        "zh-CN": "这个文件的加密方式无法识别，没有送达。请重新发送。",
        "zh-TW": "這個檔案的加密方式無法辨識，沒有送達。請重新傳送。",
        "en": "This file is encrypted in a way that I do not know, so it was not delivered. Please send it again.",
        "ja": "このファイルの暗号化方式に対応していないため、届いていません。もう一度お送りください。",
    },
    "unreadable.no_key": {
        "zh-CN": "🔑 这条消息的解密密钥还没有收到，暂时没有送达。密钥一到会自动送达（最多等待一小时）；也可以重新发送。",
        "zh-TW": "🔑 還沒有收到這則訊息的解密金鑰，暫時沒有送達。收到金鑰後會自動送達（最多等候一小時）；您也可以重新傳送。",
        "en": "🔑 The key to this message has not arrived, so it was not delivered yet. It will be delivered if the key comes within an hour; you may also send it again.",
        "ja": "🔑 このメッセージを復号する鍵がまだ届いていないため、送信を保留しています。1時間以内に鍵が届けば自動で送信します。もう一度送っていただいてもかまいません。",
    },
    "unreadable.undecryptable": {
        "zh-CN": "🔑 这条加密消息无法解密，没有送达。请重新发送。",
        "zh-TW": "🔑 這則加密訊息無法解密，沒有送達。請重新傳送。",
        "en": "🔑 This encrypted message cannot be decrypted, so it was not delivered. Please send it again.",
        "ja": "🔑 暗号化されたこのメッセージを復号できなかったため、届いていません。もう一度お送りください。",
    },
    "unreadable.repeated": {
        "zh-CN": "🔑 这是之前一条加密消息的重复，没有再次送达。如果这是一条新消息，请重新输入并发送。",
        "zh-TW": "🔑 這是先前一則加密訊息的重複，沒有再次送達。如果這是新的訊息，請重新輸入並傳送。",
        "en": "🔑 This repeats an earlier encrypted message, so it was not delivered once more. If it is a new one, please write it again.",
        "ja": "🔑 以前の暗号化メッセージと重複しているため、あらためての送信は行っていません。新しいメッセージの場合は、もう一度入力してお送りください。",
    },
    "unreadable.unknown_device": {
        "zh-CN": "🔑 无法确认这条加密消息来自您账号下的设备，暂时没有送达。如果一小时内能够确认，会自动送达；也可以用当前登录的设备重新发送。",
        "zh-TW": "🔑 無法確認這則加密訊息來自您帳號的裝置，暫時沒有送達。一小時內若能確認，會自動送達；您也可以用目前登入的裝置重新傳送。",
        "en": "🔑 This encrypted message comes from a device that is not known to be yours, so it was not delivered yet. It will be delivered if that becomes known within an hour; you may also send it again from a device on which you are signed in.",
        "ja": "🔑 この暗号化メッセージがお客様の端末から送られたことを確認できないため、送信を保留しています。1時間以内に確認できれば自動で送信します。サインイン中の端末からもう一度送っていただいてもかまいません。",
    },
    "unreadable.withheld.blocked": {
        "zh-CN": "🔑 您的客户端屏蔽了客服账号的设备，没有发送密钥，消息没有送达。请解除屏蔽后重新发送。",
        "zh-TW": "🔑 您的應用程式封鎖了客服帳號的裝置，沒有傳送金鑰，訊息沒有送達。請解除封鎖後重新傳送。",
        "en": "🔑 Your app has blocked our device and keeps the key back, so this message was not delivered. Unblock it and send the message again.",
        "ja": "🔑 お使いのアプリがこちらの端末をブロックしていて鍵を受け取れないため、届いていません。ブロックを解除してから、もう一度お送りください。",
    },
    "unreadable.withheld.unverified": {
        "zh-CN": "🔑 您的客户端只向已验证的设备发送密钥，消息没有送达。请在客户端设置中允许未验证的设备，然后重新发送。",
        "zh-TW": "🔑 您的應用程式只傳送金鑰給已驗證的裝置，訊息沒有送達。請在應用程式的設定中允許未驗證的裝置，然後重新傳送。",
        "en": "🔑 Your app gives keys only to verified devices, so this message was not delivered. Allow unverified devices in its settings, and send it again.",
        "ja": "🔑 お使いのアプリは検証済みの端末にしか鍵を渡さないため、届いていません。設定で未検証の端末を許可してから、もう一度お送りください。",
    },
    "unreadable.withheld.unauthorised": {
        "zh-CN": "🔑 您的客户端认为本账号无权阅读这条消息，没有发送密钥，消息没有送达。请重新发送。",
        "zh-TW": "🔑 您的應用程式認為本帳號無權閱讀這則訊息，沒有傳送金鑰，訊息沒有送達。請重新傳送。",
        "en": "🔑 Your app does not let this account read the message and keeps the key back, so it was not delivered. Please send it again.",
        "ja": "🔑 お使いのアプリがこのアカウントにメッセージを読む権限がないと判断し、鍵を受け取れないため、届いていません。もう一度お送りください。",
    },
    "unreadable.withheld.other": {
        "zh-CN": "🔑 您的客户端没有发送这条消息的密钥，消息没有送达。请重新发送。",
        "zh-TW": "🔑 您的應用程式沒有傳送這則訊息的金鑰，訊息沒有送達。請重新傳送。",
        "en": "🔑 Your app did not send the key to this message, so it was not delivered. Please send it again.",
        "ja": "🔑 お使いのアプリからこのメッセージの鍵が送られてこないため、届いていません。もう一度お送りください。",
    },
    # --- kinds that agents have no use for -------------------------------------------------------
    "unreadable.kind": {
        "zh-CN": "客服系统不支持这种消息，没有送达。请改用文字、图片或文件。",
        "zh-TW": "客服系統不支援這種訊息，沒有送達。請改用文字、圖片或檔案。",
        "en": "The call centre cannot show this kind of message, so it was not delivered. Please use text, pictures or files.",
        "ja": "コールセンターではこの種類のメッセージを表示できないため、届いていません。テキスト、画像、ファイルでお送りください。",
    },
    "unreadable.call": {
        "zh-CN": "这里不能语音或视频通话，请改用文字或语音消息。",
        "zh-TW": "這裡無法進行語音或視訊通話，請改用文字或語音訊息。",
        "en": "Calls do not reach the call centre. Please write, or send a voice message.",
        "ja": "ここでは通話をご利用いただけません。テキストまたは音声メッセージでお送りください。",
    },
    "unreadable.verification": {
        "zh-CN": "这是服务账号，无法与您比对表情来验证。不验证也可以照常使用，直接发消息即可。",
        "zh-TW": "這是服務帳號，無法與您比對表情符號來驗證。不驗證也可以照常使用，直接傳訊息即可。",
        "en": "This account is a service and cannot compare emoji with you. Nothing depends on it: just write.",
        "ja": "これはサービス用のアカウントのため、絵文字を比べる検証には対応していません。検証しなくても、そのままご利用いただけます。",
    },
    "unreadable.live_location": {
        "zh-CN": "客服看不到实时位置，请改为发送一次当前位置。",
        "zh-TW": "客服看不到即時位置，請改為傳送一次目前位置。",
        "en": "The call centre cannot follow a live location. Please send your position once instead.",
        "ja": "リアルタイムの位置情報は担当者に表示されません。現在地を1回だけお送りください。",
    },
    "unreadable.malformed": {
        "zh-CN": "这条消息的格式有误，没有送达。请重新发送。",
        "zh-TW": "這則訊息的格式有誤，沒有送達。請重新傳送。",
        "en": "This message is malformed, so it was not delivered. Please send it again.",
        "ja": "メッセージの形式が正しくないため、届いていません。もう一度お送りください。",
    },
    "unreadable.blank": {
        "zh-CN": "这条消息没有内容，未发送。",
        "zh-TW": "這則訊息沒有內容，未傳送。",
        "en": "This message is empty, so it was not sent.",
        "ja": "メッセージが空のため、送信しませんでした。",
    },
}
