"""Answers to commands: what there is, what is going on, and what was probably meant."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "command.help": {
        "zh-CN": (
            "直接发消息就会送到客服。命令：\n"
            "{prefix} start [队列] — 联系客服\n"
            "{prefix} cancel — 退出排队\n"
            "{prefix} callback — 没有客服时，稍后通知我\n"
            "{prefix} close — 结束对话\n"
            "{prefix} rate <分数> [留言] — 评价\n"
            "{prefix} ask <问题> — 问机器人；{prefix} solved — 已解决\n"
            "{prefix} human — 转人工客服\n"
            "{prefix} retry — 重新发送未送达的消息\n"
            "{prefix} history — 以往的对话；{prefix} transcript [编号] — 取得对话全文\n"
            "{prefix} login <账号> <密码> — 用自己的账号；{prefix} logout — 不再使用\n"
            "{prefix} status — 查看当前状态\n"
            "{prefix} queue list — 所有队列；{prefix} queue show — 本房间的队列\n"
            "{prefix} version — 版本\n"
            "房间管理员还可以：\n"
            "{prefix} queue set <队列> — 选择队列\n"
            "{prefix} lang <zh-CN|zh-TW|en|ja> — 选择语言\n"
            "{prefix} from <PC|MOBILE|WECHAT|APP> — 客服看到的来源\n"
            "{prefix} pause — 暂停服务；{prefix} resume — 恢复服务\n"
            "{prefix} config show — 查看全部设置；{prefix} config set <键> <值> — 更改；{prefix} config reset — 还原"
        ),
        "zh-TW": (
            "直接傳訊息就會送到客服。指令：\n"
            "{prefix} start [佇列] — 聯絡客服\n"
            "{prefix} cancel — 退出排隊\n"
            "{prefix} callback — 沒有客服時，稍後通知我\n"
            "{prefix} close — 結束對話\n"
            "{prefix} rate <分數> [留言] — 評分\n"
            "{prefix} ask <問題> — 問機器人；{prefix} solved — 已解決\n"
            "{prefix} human — 轉接真人客服\n"
            "{prefix} retry — 重新傳送未送達的訊息\n"
            "{prefix} history — 過去的對話；{prefix} transcript [編號] — 取得對話全文\n"
            "{prefix} login <帳號> <密碼> — 用自己的帳號；{prefix} logout — 不再使用\n"
            "{prefix} status — 查看目前狀態\n"
            "{prefix} queue list — 所有佇列；{prefix} queue show — 這個聊天室的佇列\n"
            "{prefix} version — 版本\n"
            "聊天室管理員還可以：\n"
            "{prefix} queue set <佇列> — 選擇佇列\n"
            "{prefix} lang <zh-CN|zh-TW|en|ja> — 選擇語言\n"
            "{prefix} from <PC|MOBILE|WECHAT|APP> — 客服看到的來源\n"
            "{prefix} pause — 暫停服務；{prefix} resume — 恢復服務\n"
            "{prefix} config show — 查看全部設定；{prefix} config set <鍵> <值> — 變更；{prefix} config reset — 還原"
        ),
        "en": (
            "Whatever you write goes to the agent. Commands:\n"
            "{prefix} start [queue] — ask for an agent\n"
            "{prefix} cancel — leave the queue\n"
            "{prefix} callback — nobody there? be told once somebody is\n"
            "{prefix} close — end the chat\n"
            "{prefix} rate <number> [comment] — rate the chat\n"
            "{prefix} ask <question> — ask the robot; {prefix} solved — that was it\n"
            "{prefix} human — talk to a person\n"
            "{prefix} retry — send again what did not arrive\n"
            "{prefix} history — earlier chats; {prefix} transcript [number] — one of them in full\n"
            "{prefix} login <name> <password> — use an account of your own; {prefix} logout — no longer\n"
            "{prefix} status — what is going on\n"
            "{prefix} queue list — all queues; {prefix} queue show — this room's\n"
            "{prefix} version — the version\n"
            "Room admins also have:\n"
            "{prefix} queue set <queue> — choose the queue\n"
            "{prefix} lang <zh-CN|zh-TW|en|ja> — choose the language\n"
            "{prefix} from <PC|MOBILE|WECHAT|APP> — where agents see you come from\n"
            "{prefix} pause — stop the service here; {prefix} resume — take it up again\n"
            "{prefix} config show — all settings; {prefix} config set <key> <value> — change one; {prefix} config reset — undo all"
        ),
        "ja": (
            "メッセージを送ると、そのまま担当者に届きます。コマンド：\n"
            "{prefix} start [窓口] — 担当者を呼び出す\n"
            "{prefix} cancel — 順番待ちをやめる\n"
            "{prefix} callback — 担当者が不在のとき、後で知らせてもらう\n"
            "{prefix} close — チャットを終了する\n"
            "{prefix} rate <数字> [コメント] — 評価する\n"
            "{prefix} ask <質問> — ロボットに質問する、{prefix} solved — 解決した\n"
            "{prefix} human — 担当者につなぐ\n"
            "{prefix} retry — 届かなかったメッセージを再送する\n"
            "{prefix} history — これまでのチャット、{prefix} transcript [番号] — チャットの全文\n"
            "{prefix} login <アカウント名> <パスワード> — 自分のアカウントを使う、{prefix} logout — 使うのをやめる\n"
            "{prefix} status — 現在の状況を見る\n"
            "{prefix} queue list — すべての窓口、{prefix} queue show — このルームの窓口\n"
            "{prefix} version — バージョン\n"
            "ルームの管理者が使えるコマンド：\n"
            "{prefix} queue set <窓口> — 窓口を選ぶ\n"
            "{prefix} lang <zh-CN|zh-TW|en|ja> — 言語を選ぶ\n"
            "{prefix} from <PC|MOBILE|WECHAT|APP> — 担当者に表示される接続元\n"
            "{prefix} pause — 利用を一時停止する、{prefix} resume — 再開する\n"
            "{prefix} config show — すべての設定、{prefix} config set <キー> <値> — 変更する、{prefix} config reset — 元に戻す"
        ),
    },
    "command.version": {
        "zh-CN": "matrix-webchat-bridge {version}",
        "zh-TW": "matrix-webchat-bridge {version}",
        "en": "matrix-webchat-bridge {version}",
        "ja": "matrix-webchat-bridge {version}",
    },
    "command.unknown": {
        "zh-CN": "没有这个命令。发送 {prefix} help 查看所有命令。",
        "zh-TW": "沒有這個指令。傳送 {prefix} help 可查看所有指令。",
        "en": "There is no such command. {prefix} help lists them all.",
        "ja": "そのようなコマンドはありません。{prefix} help ですべてのコマンドをご覧いただけます。",
    },
    "command.unknown_near": {
        "zh-CN": "没有这个命令。您是想用 {prefix} {near} 吗？",
        "zh-TW": "沒有這個指令。您是想用 {prefix} {near} 嗎？",
        "en": "There is no such command. Did you mean {prefix} {near}?",
        "ja": "そのようなコマンドはありません。もしかして {prefix} {near} ですか？",
    },
    "command.queues": {
        "zh-CN": "可用队列：\n{list}",
        "zh-TW": "可用的佇列：\n{list}",
        "en": "The queues:\n{list}",
        "ja": "窓口の一覧：\n{list}",
    },
    "command.queue": {
        "zh-CN": "本房间的队列是「{queue}」。管理员可用 {prefix} queue set <队列> 更改。",
        "zh-TW": "這個聊天室的佇列是「{queue}」。管理員可用 {prefix} queue set <佇列> 變更。",
        "en": "This room's queue is {queue}. A room admin changes it with {prefix} queue set <queue>.",
        "ja": "このルームの窓口は「{queue}」です。ルームの管理者は {prefix} queue set <窓口> で変更できます。",
    },
    "command.status_idle": {
        "zh-CN": "当前没有对话。队列：「{queue}」。保留的消息：{waiting} 条。",
        "zh-TW": "目前沒有對話。佇列：「{queue}」。保留的訊息：{waiting} 則。",
        "en": "No chat at the moment. Queue: {queue}. Messages kept: {waiting}.",
        "ja": "進行中のチャットはありません。窓口：「{queue}」。お預かりしているメッセージ：{waiting}件。",
    },
    "command.status_requesting": {
        "zh-CN": "正在联系「{queue}」。待发消息：{waiting} 条。",
        "zh-TW": "正在聯絡「{queue}」。待傳送的訊息：{waiting} 則。",
        "en": "Asking {queue} for an agent. Messages waiting: {waiting}.",
        "ja": "「{queue}」の担当者を呼び出しています。送信待ちのメッセージ：{waiting}件。",
    },
    "command.status_queued": {
        "zh-CN": "正在「{queue}」排队，位置：{position}。",
        "zh-TW": "正在「{queue}」排隊，順位：{position}。",
        "en": "Waiting for {queue}, position {position}.",
        "ja": "「{queue}」の順番待ち中です。順番：{position}。",
    },
    "command.status_waiting": {
        "zh-CN": "正在「{queue}」排队。",
        "zh-TW": "正在「{queue}」排隊。",
        "en": "Waiting for {queue}.",
        "ja": "「{queue}」の順番待ち中です。",
    },
    "command.status_leaving": {
        "zh-CN": "正在退出「{queue}」的排队，等待客服系统确认。",
        "zh-TW": "正在退出「{queue}」的排隊，等候客服系統確認。",
        "en": "Leaving the queue of {queue}; the call centre has yet to confirm it.",
        "ja": "「{queue}」の順番待ちをやめる手続き中で、コールセンターの確認を待っています。",
    },
    "command.status_leaving_away": {
        "zh-CN": "正在退出「{queue}」的排队；暂时无法连接客服系统。",
        "zh-TW": "正在退出「{queue}」的排隊；暫時無法連線到客服系統。",
        "en": "Leaving the queue of {queue}; the call centre cannot be reached at the moment.",
        "ja": "「{queue}」の順番待ちをやめる手続き中ですが、ただいまコールセンターに接続できません。",
    },
    "command.status_chatting": {
        "zh-CN": "正在与 {names} 对话。待发消息：{waiting} 条。",
        "zh-TW": "正在與 {names} 對話。待傳送的訊息：{waiting} 則。",
        "en": "Chatting with {names}. Messages waiting: {waiting}.",
        "ja": "{names} とチャット中です。送信待ちのメッセージ：{waiting}件。",
    },
    "command.status_paused": {
        "zh-CN": "本房间的服务已暂停：写的内容不会送给客服。管理员可发送 {prefix} resume 恢复。\n{status}",
        "zh-TW": "這個聊天室的服務已暫停：寫的內容不會送給客服。管理員可傳送 {prefix} resume 恢復服務。\n{status}",
        "en": "This room is paused: what is written goes to no agent. A room admin can send {prefix} resume.\n{status}",
        "ja": "このルームは一時停止中のため、メッセージは担当者に届きません。ルームの管理者が {prefix} resume と送信すると再開します。\n{status}",
    },
}
