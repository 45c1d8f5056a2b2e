"""Sentences about past chats and the customer's own account: history, transcript, login, logout."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    # --- history ---
    "history.none": {
        "zh-CN": "这个房间还没有对话。直接发消息即可开始。",
        "zh-TW": "這個聊天室還沒有對話。直接傳訊息即可開始。",
        "en": "There has been no chat in this room yet. Just write to begin.",
        "ja": "このルームではまだチャットがありません。メッセージを送ると始まります。",
    },
    "history.list": {
        "zh-CN": "以往的对话，最近的在前：\n{list}\n\n发送 {prefix} transcript <编号> 可取得全文。",
        "zh-TW": "過去的對話，最近的在前：\n{list}\n\n傳送 {prefix} transcript <編號> 可取得全文。",
        "en": "The chats of this room, the latest first:\n{list}\n\nSend {prefix} transcript <number> for the whole of one.",
        "ja": "このルームのチャット（新しい順）：\n{list}\n\n全文は {prefix} transcript <番号> で受け取れます。",
    },
    "history.chat": {
        "zh-CN": "{number}. {date} · {queue} · {outcome}",
        "zh-TW": "{number}. {date} · {queue} · {outcome}",
        "en": "{number}. {date} · {queue} · {outcome}",
        "ja": "{number}. {date} · {queue} · {outcome}",
    },
    "history.waiting": {
        "zh-CN": "正在等待客服",
        "zh-TW": "正在等待客服",
        "en": "waiting for an agent",
        "ja": "担当者を待っています",
    },
    "history.running": {
        "zh-CN": "{names}（进行中）",
        "zh-TW": "{names}（進行中）",
        "en": "{names} (going on)",
        "ja": "{names}（チャット中）",
    },
    "history.answered": {
        "zh-CN": "{names}，{duration}",
        "zh-TW": "{names}，{duration}",
        "en": "{names}, {duration}",
        "ja": "{names}、{duration}",
    },
    "history.cancelled": {
        "zh-CN": "已退出排队",
        "zh-TW": "已退出排隊",
        "en": "left the queue",
        "ja": "順番待ちをやめました",
    },
    "history.nobody": {
        "zh-CN": "没有客服接入",
        "zh-TW": "沒有客服回應",
        "en": "no agent came",
        "ja": "担当者につながりませんでした",
    },
    "history.unnamed": {
        "zh-CN": "客服",
        "zh-TW": "客服",
        "en": "an agent",
        "ja": "担当者",
    },
    "history.robot": {
        "zh-CN": "机器人",
        "zh-TW": "機器人",
        "en": "the robot",
        "ja": "ロボット",
    },
    "history.rated": {
        "zh-CN": "评价：{rating}",
        "zh-TW": "評分：{rating}",
        "en": "rated {rating}",
        "ja": "評価：{rating}",
    },
    # --- transcript ---
    "transcript.none": {
        "zh-CN": "这个房间还没有对话，没有可以导出的记录。",
        "zh-TW": "這個聊天室還沒有對話，沒有可以匯出的紀錄。",
        "en": "There has been no chat in this room yet, so there is nothing to write down.",
        "ja": "このルームではまだチャットがないため、記録はありません。",
    },
    "transcript.unknown": {
        "zh-CN": "没有编号为 {number} 的对话。发送 {prefix} history 查看所有对话。",
        "zh-TW": "沒有編號為 {number} 的對話。傳送 {prefix} history 查看所有對話。",
        "en": "There is no chat {number}. Send {prefix} history to see which there are.",
        "ja": "{number} 番のチャットはありません。{prefix} history で一覧を確認できます。",
    },
    "transcript.too_soon": {
        "zh-CN": "刚刚已经导出过记录。请一分钟后再试。",
        "zh-TW": "剛剛已經匯出過紀錄。請一分鐘後再試。",
        "en": "A transcript was made a moment ago. Please try again in a minute.",
        "ja": "記録を作成したばかりです。1分ほど待ってからもう一度お試しください。",
    },
    "transcript.unavailable": {
        "zh-CN": "记录暂时无法生成，请稍后再试。",
        "zh-TW": "紀錄暫時無法產生，請稍後再試。",
        "en": "The transcript cannot be made at the moment. Please try again later.",
        "ja": "現在、記録を作成できません。しばらくしてからもう一度お試しください。",
    },
    "transcript.title": {
        "zh-CN": "对话 {number} · {queue}",
        "zh-TW": "對話 {number} · {queue}",
        "en": "Chat {number} · {queue}",
        "ja": "チャット {number} · {queue}",
    },
    "transcript.asked": {
        "zh-CN": "请求时间",
        "zh-TW": "請求時間",
        "en": "Asked for",
        "ja": "依頼",
    },
    "transcript.started": {
        "zh-CN": "开始时间",
        "zh-TW": "開始時間",
        "en": "Began",
        "ja": "開始",
    },
    "transcript.ended": {
        "zh-CN": "结束时间",
        "zh-TW": "結束時間",
        "en": "Ended",
        "ja": "終了",
    },
    "transcript.agents": {
        "zh-CN": "客服",
        "zh-TW": "客服",
        "en": "Agents",
        "ja": "担当者",
    },
    "transcript.rating": {
        "zh-CN": "评价",
        "zh-TW": "評分",
        "en": "Rating",
        "ja": "評価",
    },
    "transcript.made": {
        "zh-CN": "导出时间",
        "zh-TW": "匯出時間",
        "en": "Written down",
        "ja": "作成",
    },
    "transcript.service": {
        "zh-CN": "系统",
        "zh-TW": "系統",
        "en": "Service",
        "ja": "システム",
    },
    "transcript.edited": {
        "zh-CN": "已编辑",
        "zh-TW": "已編輯",
        "en": "edited",
        "ja": "編集済み",
    },
    "transcript.withdrawn": {
        "zh-CN": "（消息已撤回）",
        "zh-TW": "（訊息已收回）",
        "en": "(taken back)",
        "ja": "（取り消されました）",
    },
    "transcript.unreadable": {
        "zh-CN": "（内容已无法读取）",
        "zh-TW": "（內容已無法讀取）",
        "en": "(can no longer be read)",
        "ja": "（内容を読み取れません）",
    },
    "transcript.incomplete": {
        "zh-CN": "这份记录不完整：有 {count} 条消息已无法读取。",
        "zh-TW": "這份紀錄不完整：有 {count} 則訊息已無法讀取。",
        "en": "This transcript is not complete; messages that can no longer be read: {count}.",
        "ja": "この記録は完全ではありません。読み取れないメッセージ：{count}件。",
    },
    "transcript.gone": {
        "zh-CN": "服务器上已经没有这次对话的消息。",
        "zh-TW": "伺服器上已經沒有這次對話的訊息。",
        "en": "The homeserver no longer has the messages of this chat.",
        "ja": "このチャットのメッセージは、サーバーにもう残っていません。",
    },
    "transcript.cut": {
        "zh-CN": "对话太长，这里只有前面的部分。",
        "zh-TW": "對話太長，這裡只有前面的部分。",
        "en": "The chat is too long for one file: only its beginning is here.",
        "ja": "チャットが長いため、ここにあるのは最初の部分だけです。",
    },
    "transcript.empty": {
        "zh-CN": "没有消息。",
        "zh-TW": "沒有訊息。",
        "en": "No messages.",
        "ja": "メッセージはありません。",
    },
    "transcript.open": {
        "zh-CN": "在聊天中查看",
        "zh-TW": "在聊天中查看",
        "en": "Show in the room",
        "ja": "ルームで表示",
    },
    "transcript.file": {
        "zh-CN": "文件",
        "zh-TW": "檔案",
        "en": "File",
        "ja": "ファイル",
    },
    # --- login and logout ---
    "login.done": {
        "zh-CN": "已用账号 {name} 登录，这个房间的下一次对话会使用它。发送 {prefix} logout 可退出。",
        "zh-TW": "已用帳號 {name} 登入，這個聊天室的下一次對話會使用它。傳送 {prefix} logout 可登出。",
        "en": "You are logged in as {name}; the next chat in this room is held under it. Send {prefix} logout to log out.",
        "ja": "{name} でログインしました。このルームの次のチャットから使われます。ログアウトは {prefix} logout です。",
    },
    "login.refused": {
        "zh-CN": "没有登录：{reason}",
        "zh-TW": "沒有登入：{reason}",
        "en": "Not logged in: {reason}",
        "ja": "ログインできませんでした：{reason}",
    },
    "login.unreachable": {
        "zh-CN": "没有登录：客服系统暂时无法连接，请稍后再试。",
        "zh-TW": "沒有登入：客服系統暫時無法連線，請稍後再試。",
        "en": "Not logged in: the call centre cannot be reached at the moment. Please try again later.",
        "ja": "ログインできませんでした：現在コールセンターに接続できません。しばらくしてからもう一度お試しください。",
    },
    "login.direct_only": {
        "zh-CN": "只能在与客服账号的私聊中登录，因为别人会看到密码。请在私聊中重试，并尽快更改这个密码。",
        "zh-TW": "只能在與客服帳號的私訊中登入，因為別人會看到密碼。請在私訊中重試，並盡快變更這個密碼。",
        "en": "You can log in only in a direct chat with this account, because here others see your password. Please do it there, and change this password soon.",
        "ja": "ほかの人にパスワードが見えるため、ログインできるのはこのアカウントとの1対1のチャットだけです。そちらでやり直し、このパスワードは早めに変更してください。",
    },
    "login.chatting": {
        "zh-CN": "对话或排队期间不能更换账号。请先结束对话（{prefix} close）或退出排队（{prefix} cancel），然后再试。",
        "zh-TW": "對話或排隊期間不能更換帳號。請先結束對話（{prefix} close）或退出排隊（{prefix} cancel），然後再試。",
        "en": "The account cannot change while you are chatting or waiting. End the chat ({prefix} close) or leave the queue ({prefix} cancel), then try again.",
        "ja": "チャット中や順番待ちの間はアカウントを変更できません。チャットを終了する（{prefix} close）か、順番待ちをやめて（{prefix} cancel）から、もう一度お試しください。",
    },
    "login.too_soon": {
        "zh-CN": "登录过于频繁，请一分钟后再试。",
        "zh-TW": "登入過於頻繁，請一分鐘後再試。",
        "en": "That was quick: please wait a minute before you log in again.",
        "ja": "続けてログインすることはできません。1分ほど待ってからもう一度お試しください。",
    },
    "login.off": {
        "zh-CN": "这里不能使用自己的账号登录，直接发消息即可。",
        "zh-TW": "這裡不能使用自己的帳號登入，直接傳訊息即可。",
        "en": "Logging in with an account of your own is not possible here; just write your message.",
        "ja": "ここではご自身のアカウントでログインできません。そのままメッセージをお送りください。",
    },
    "login.delete": {
        "zh-CN": "⚠️ 这条消息里有密码，我没有权限删除它。请您自己删除（撤回）这条消息。",
        "zh-TW": "⚠️ 這則訊息裡有密碼，我沒有權限刪除它。請您自己刪除（收回）這則訊息。",
        "en": "⚠️ This message holds a password, and I may not remove it here. Please delete it yourself.",
        "ja": "⚠️ このメッセージにはパスワードが含まれていますが、こちらでは削除できません。ご自身で削除してください。",
    },
    "logout.done": {
        "zh-CN": "已退出账号 {name}。",
        "zh-TW": "已登出帳號 {name}。",
        "en": "You are logged out of {name}.",
        "ja": "{name} からログアウトしました。",
    },
    "logout.nobody": {
        "zh-CN": "您没有用自己的账号登录。",
        "zh-TW": "您沒有用自己的帳號登入。",
        "en": "You are not logged in with an account of your own.",
        "ja": "ご自身のアカウントではログインしていません。",
    },
    "undelivered.like_login": {
        "zh-CN": "这条消息看起来像登录命令，所以没有送达。要登录，请发送 {prefix} login <账号> <密码>，并删除这条消息。",
        "zh-TW": "這則訊息看起來像登入指令，所以沒有送達。要登入，請傳送 {prefix} login <帳號> <密碼>，並刪除這則訊息。",
        "en": "This reads like the command login, so it was not delivered. To log in, send {prefix} login <name> <password> and delete this message.",
        "ja": "ログインのコマンドのように見えるため、このメッセージは届けていません。ログインする場合は {prefix} login <アカウント名> <パスワード> と送り、このメッセージは削除してください。",
    },
    # --- how to write them ---
    "usage.history": {
        "zh-CN": "用法：{prefix} history [条数]，例如 {prefix} history 20",
        "zh-TW": "用法：{prefix} history [筆數]，例如 {prefix} history 20",
        "en": "Usage: {prefix} history [how many], for example {prefix} history 20",
        "ja": "使い方：{prefix} history [件数]（例：{prefix} history 20）",
    },
    "usage.transcript": {
        "zh-CN": "用法：{prefix} transcript [对话编号]，例如 {prefix} transcript 3",
        "zh-TW": "用法：{prefix} transcript [對話編號]，例如 {prefix} transcript 3",
        "en": "Usage: {prefix} transcript [number of the chat], for example {prefix} transcript 3",
        "ja": "使い方：{prefix} transcript [チャットの番号]（例：{prefix} transcript 3）",
    },
    "usage.login": {
        "zh-CN": "用法：{prefix} login <账号> <密码>",
        "zh-TW": "用法：{prefix} login <帳號> <密碼>",
        "en": "Usage: {prefix} login <name> <password>",
        "ja": "使い方：{prefix} login <アカウント名> <パスワード>",
    },
    "usage.logout": {
        "zh-CN": "用法：{prefix} logout",
        "zh-TW": "用法：{prefix} logout",
        "en": "Usage: {prefix} logout",
        "ja": "使い方：{prefix} logout",
    },
}
