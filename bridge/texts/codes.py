"""A sentence for every result code and request status of WebChat (reference 2.3 and 2.5).

Each says what happened and, where the customer can do something, what. The numbers themselves are
for operators (logs, `trace`); a customer sees one only where nobody knows what it means.
"""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    # --- wire `result` ---
    "result.1": {
        "zh-CN": "已完成。",
        "zh-TW": "已完成。",
        "en": "Done.",
        "ja": "完了しました。",
    },
    "result.0": {
        "zh-CN": "客服系统未能处理这次请求，请稍后再试。",
        "zh-TW": "客服系統未能處理這次請求，請稍後再試。",
        "en": "The call centre could not do this. Please try again later.",
        "ja": "コールセンターで処理できませんでした。しばらくしてからもう一度お試しください。",
    },
    "result.-1": {
        "zh-CN": "您已在排队中，无需重复申请，请耐心等候。",
        "zh-TW": "您已經在排隊了，不必再次申請，請耐心等候。",
        "en": "You are already in the queue; there is no need to ask again.",
        "ja": "すでに順番待ちに入っています。そのままお待ちください。",
    },
    "result.-2": {
        "zh-CN": "您已在与客服对话中，直接发送消息即可。",
        "zh-TW": "您已經在與客服對話，直接傳送訊息即可。",
        "en": "You are already in a chat; just write your message.",
        "ja": "すでに担当者とチャット中です。そのままメッセージをお送りください。",
    },
    "result.-3": {
        "zh-CN": "现在是非工作时间，请在工作时间再联系我们。",
        "zh-TW": "目前不是服務時間，請於服務時間再與我們聯絡。",
        "en": "We are closed right now. Please come back during opening hours.",
        "ja": "ただいま営業時間外です。営業時間内にもう一度お問い合わせください。",
    },
    "result.-4": {
        "zh-CN": "该队列目前没有可用的客服组，请换一个队列或联系管理员。",
        "zh-TW": "這個佇列目前沒有可用的客服小組，請改用其他佇列或聯絡管理員。",
        "en": "No team is set up for this queue. Please choose another queue or tell an administrator.",
        "ja": "この窓口には対応できる担当チームがありません。別の窓口を選ぶか、管理者にご連絡ください。",
    },
    "result.-5": {
        "zh-CN": "目前没有客服在线，请稍后再发消息。",
        "zh-TW": "目前沒有客服在線上，請稍後再傳訊息。",
        "en": "No agent is online at the moment. Please write again later.",
        "ja": "ただいま対応できる担当者がおりません。しばらくしてからもう一度お送りください。",
    },
    "result.-6": {
        "zh-CN": "客服系统不认识此账号，请联系管理员。",
        "zh-TW": "客服系統不認得這個帳號，請聯絡管理員。",
        "en": "The call centre does not know this account. Please tell an administrator.",
        "ja": "このアカウントはコールセンターに登録されていません。管理者にご連絡ください。",
    },
    "result.-7": {
        "zh-CN": "该队列不存在，请换一个队列或联系管理员。",
        "zh-TW": "這個佇列不存在，請改用其他佇列或聯絡管理員。",
        "en": "This queue does not exist. Please choose another one or tell an administrator.",
        "ja": "この窓口は存在しません。別の窓口を選ぶか、管理者にご連絡ください。",
    },
    "result.-8": {
        "zh-CN": "客服系统无法识别这次请求，请联系管理员。",
        "zh-TW": "客服系統無法辨識這次請求，請聯絡管理員。",
        "en": "The call centre did not understand this request. Please tell an administrator.",
        "ja": "コールセンターで要求を読み取れませんでした。管理者にご連絡ください。",
    },
    "result.-9": {
        "zh-CN": "本队列指定的客服不存在或不在线，请稍后再试，或告知管理员。",
        "zh-TW": "這個佇列指定的客服不存在或不在線上，請稍後再試，或告知管理員。",
        "en": "The agent this queue asks for is unknown or not online. Please try again later, or tell an administrator.",
        "ja": "この窓口で指定されている担当者は見つからないか、オンラインではありません。しばらくしてからお試しになるか、管理者にご連絡ください。",
    },
    "result.-10": {
        "zh-CN": "您的排队已失效，再发一条消息即可重新排队。",
        "zh-TW": "您的排隊已失效，再傳一則訊息即可重新排隊。",
        "en": "Your place in the queue is gone. Write again to get a new one.",
        "ja": "順番待ちが無効になりました。メッセージを送ると、もう一度順番待ちに入れます。",
    },
    "result.-11": {
        "zh-CN": "该对话已结束，再发一条消息即可开始新的对话。",
        "zh-TW": "這次對話已結束，再傳一則訊息即可開始新的對話。",
        "en": "This chat has ended. Write again to start a new one.",
        "ja": "このチャットは終了しています。メッセージを送ると、新しいチャットを始められます。",
    },
    "result.-12": {
        "zh-CN": "客服系统不支持此类消息，请改用文字或文件。",
        "zh-TW": "客服系統不支援這類訊息，請改用文字或檔案。",
        "en": "The call centre does not take this kind of message. Please send text or a file.",
        "ja": "この種類のメッセージは送れません。テキストまたはファイルでお送りください。",
    },
    "result.-13": {
        "zh-CN": "文件上传失败，请重新发送。",
        "zh-TW": "檔案上傳失敗，請重新傳送。",
        "en": "The file could not be uploaded. Please send it again.",
        "ja": "ファイルをアップロードできませんでした。もう一度お送りください。",
    },
    "result.-14": {
        "zh-CN": "客服系统拒绝了这次请求的内容，需要管理员检查设置，请联系管理员。",
        "zh-TW": "客服系統拒絕了這次請求的內容，需要管理員檢查設定，請聯絡管理員。",
        "en": "The call centre refused part of this request. Its settings have to be checked: please tell an administrator.",
        "ja": "要求の内容がコールセンターで受け付けられませんでした。設定の確認が必要ですので、管理者にご連絡ください。",
    },
    "result.-15": {
        "zh-CN": "与客服系统的登录已失效，请重新发送。",
        "zh-TW": "客服系統的登入已失效，請重新傳送。",
        "en": "The login to the call centre has expired. Please send your message again.",
        "ja": "コールセンターへのログインの有効期限が切れました。もう一度お送りください。",
    },
    "result.-16": {
        "zh-CN": "客服系统不接受此类文件，请换一种格式发送。",
        "zh-TW": "客服系統不接受這類檔案，請換一種格式傳送。",
        "en": "The call centre does not take files of this type. Please send another format.",
        "ja": "この形式のファイルは送れません。別の形式でお送りください。",
    },
    "result.-17": {
        "zh-CN": "客服系统认为这次请求没有内容，请联系管理员。",
        "zh-TW": "客服系統認為這次請求沒有內容，請聯絡管理員。",
        "en": "The call centre found nothing in this request. Please tell an administrator.",
        "ja": "コールセンターで要求の内容が見つかりませんでした。管理者にご連絡ください。",
    },
    "result.-18": {
        "zh-CN": "您在客服系统中还有另一种类型的对话尚未结束，请先结束它；若找不到，请联系管理员。",
        "zh-TW": "您在客服系統中還有另一種類型的對話尚未結束，請先結束它；若找不到，請聯絡管理員。",
        "en": "You have a chat of another kind open at the call centre. Please end that one first; if you cannot find it, tell an administrator.",
        "ja": "別の種類のチャットがまだ続いています。先にそちらを終了してください。見当たらない場合は、管理者にご連絡ください。",
    },
    "result.-19": {
        "zh-CN": "客服系统不支持这项操作，请联系管理员。",
        "zh-TW": "客服系統不支援這項操作，請聯絡管理員。",
        "en": "The call centre does not support this. Please tell an administrator.",
        "ja": "コールセンターはこの操作に対応していません。管理者にご連絡ください。",
    },
    "result.-20": {
        "zh-CN": "客服系统的账号或密码有误，请联系管理员。",
        "zh-TW": "客服系統的帳號或密碼有誤，請聯絡管理員。",
        "en": "The account name or password for the call centre is wrong. Please tell an administrator.",
        "ja": "コールセンターのアカウント名またはパスワードが正しくありません。管理者にご連絡ください。",
    },
    "result.-21": {
        "zh-CN": "文件过大，客服系统无法接收，请发送较小的文件。",
        "zh-TW": "檔案太大，客服系統無法接收，請傳送較小的檔案。",
        "en": "The file is too large for the call centre. Please send a smaller one.",
        "ja": "ファイルが大きすぎて送れません。小さいファイルでお送りください。",
    },
    "result.-22": {
        "zh-CN": "图片上传失败，请重新发送，或改为以文件形式发送。",
        "zh-TW": "圖片上傳失敗，請重新傳送，或改以檔案傳送。",
        "en": "The image could not be uploaded. Please send it again, or as a file.",
        "ja": "画像をアップロードできませんでした。もう一度送るか、ファイルとしてお送りください。",
    },
    "result.-23": {
        "zh-CN": "语音上传失败，请重新发送，或改用文字。",
        "zh-TW": "語音上傳失敗，請重新傳送，或改用文字。",
        "en": "The voice message could not be uploaded. Please send it again, or write instead.",
        "ja": "音声メッセージをアップロードできませんでした。もう一度送るか、テキストでお送りください。",
    },
    "result.-30": {
        "zh-CN": "与客服系统的签名校验未通过，请联系管理员。",
        "zh-TW": "客服系統的簽章驗證未通過，請聯絡管理員。",
        "en": "The call centre rejected our signature. Please tell an administrator.",
        "ja": "コールセンターで署名が認められませんでした。管理者にご連絡ください。",
    },
    "result.-100": {
        "zh-CN": "客服系统内部出错，请稍后再试。",
        "zh-TW": "客服系統發生內部錯誤，請稍後再試。",
        "en": "The call centre has an internal error. Please try again later.",
        "ja": "コールセンターのシステムでエラーが発生しました。しばらくしてからもう一度お試しください。",
    },
    "result.other": {
        "zh-CN": "客服系统返回了未知代码 {code}，请稍后再试；若仍不行，请将此代码告知管理员。",
        "zh-TW": "客服系統傳回未知代碼 {code}，請稍後再試；若仍不行，請將此代碼告知管理員。",
        "en": "The call centre answered with the unknown code {code}. Please try again later; if it stays, tell an administrator the code.",
        "ja": "コールセンターから不明なコード {code} が返されました。しばらくしてからもう一度お試しください。続く場合は、このコードを管理者にお伝えください。",
    },
    # --- wire `requestStatus` ---
    "status.0": {
        "zh-CN": "您正在排队，请稍候。",
        "zh-TW": "您正在排隊，請稍候。",
        "en": "You are in the queue. Please wait.",
        "ja": "順番待ち中です。しばらくお待ちください。",
    },
    "status.1": {
        "zh-CN": "客服已接受您的请求，马上开始对话。",
        "zh-TW": "客服已接受您的請求，馬上開始對話。",
        "en": "An agent has accepted; the chat is about to begin.",
        "ja": "担当者が応答しました。まもなくチャットが始まります。",
    },
    "status.2": {
        "zh-CN": "客服暂时无法接待您，再发一条消息即可重新排队。",
        "zh-TW": "客服暫時無法為您服務，再傳一則訊息即可重新排隊。",
        "en": "The agent could not take your request. Send another message to rejoin the queue.",
        "ja": "担当者が対応できませんでした。メッセージを送ると、もう一度順番待ちに入れます。",
    },
    "status.3": {
        "zh-CN": "排队超时，仍无客服接入。再发一条消息即可重新排队。",
        "zh-TW": "等候逾時，仍沒有客服能為您服務。再傳一則訊息即可重新排隊。",
        "en": "No agent became free in time. Send another message to rejoin the queue.",
        "ja": "時間内に担当者におつなぎできませんでした。メッセージを送ると、もう一度順番待ちに入れます。",
    },
    "status.4": {
        "zh-CN": "您的排队已中断，再发一条消息即可重新排队。",
        "zh-TW": "您的排隊已中斷，再傳一則訊息即可重新排隊。",
        "en": "Your place in the queue was lost. Send another message to rejoin the queue.",
        "ja": "順番待ちが途切れました。メッセージを送ると、もう一度順番待ちに入れます。",
    },
    "status.5": {
        "zh-CN": "目前没有客服在线，请稍后再发消息。",
        "zh-TW": "目前沒有客服在線上，請稍後再傳訊息。",
        "en": "No agent is online at the moment. Please write again later.",
        "ja": "ただいま対応できる担当者がおりません。しばらくしてからもう一度お送りください。",
    },
    "status.6": {
        "zh-CN": "现在是非工作时间，请在工作时间再联系我们。",
        "zh-TW": "目前不是服務時間，請於服務時間再與我們聯絡。",
        "en": "We are closed right now. Please come back during opening hours.",
        "ja": "ただいま営業時間外です。営業時間内にもう一度お問い合わせください。",
    },
    "status.7": {
        "zh-CN": "已取消排队。",
        "zh-TW": "已取消排隊。",
        "en": "You have left the queue.",
        "ja": "順番待ちをやめました。",
    },
    "status.11": {
        "zh-CN": "客服已通过其他渠道接受您的请求，马上开始对话。",
        "zh-TW": "客服已透過其他管道接受您的請求，馬上開始對話。",
        "en": "An agent has accepted on another channel; the chat is about to begin.",
        "ja": "担当者が別の窓口から応答しました。まもなくチャットが始まります。",
    },
    "status.other": {
        "zh-CN": "排队因未知状态 {code} 而结束。再发一条消息即可重新排队；若仍不行，请告知管理员。",
        "zh-TW": "排隊因未知狀態 {code} 而結束。再傳一則訊息即可重新排隊；若仍不行，請告知管理員。",
        "en": "Queueing ended with the unknown status {code}. Send another message to rejoin the queue; if that fails too, tell an administrator.",
        "ja": "順番待ちが不明な状態 {code} で終了しました。メッセージを送ると、もう一度順番待ちに入れます。続く場合は管理者にご連絡ください。",
    },
}
