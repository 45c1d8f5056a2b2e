"""Sentences that agents read at their desk: what a customer did, where words of theirs say less."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "agent.reply": {
        "zh-CN": "回复「{quote}」：\n{text}",
        "zh-TW": "回覆「{quote}」：\n{text}",
        "en": "In reply to “{quote}”:\n{text}",
        "ja": "「{quote}」への返信：\n{text}",
    },
    "agent.corrected": {
        "zh-CN": "更正：{text}",
        "zh-TW": "更正：{text}",
        "en": "Correction: {text}",
        "ja": "訂正：{text}",
    },
    "agent.change": {
        "zh-CN": "「{old}」→「{new}」",
        "zh-TW": "「{old}」→「{new}」",
        "en": "“{old}” → “{new}”",
        "ja": "「{old}」→「{new}」",
    },
    "agent.withdrawn": {
        "zh-CN": "（撤回了一条消息）",
        "zh-TW": "（收回了一則訊息）",
        "en": "(took back a message)",
        "ja": "（メッセージを1件取り消しました）",
    },
    "agent.withdrawn_at": {
        "zh-CN": "（撤回了一条 {time} 的消息）",
        "zh-TW": "（收回了一則 {time} 的訊息）",
        "en": "(took back a message from {time})",
        "ja": "（{time} のメッセージを取り消しました）",
    },
    "agent.withdrawn_caption": {
        "zh-CN": "（删除了一个文件的说明文字）",
        "zh-TW": "（刪除了一個檔案的說明文字）",
        "en": "(took back the words below a file)",
        "ja": "（ファイルの説明文を取り消しました）",
    },
    "agent.reacted": {
        "zh-CN": "{reaction}（对「{quote}」的回应）",
        "zh-TW": "{reaction}（對「{quote}」的回應）",
        "en": "{reaction} (in reaction to “{quote}”)",
        "ja": "{reaction}（「{quote}」へのリアクション）",
    },
    "agent.vote": {
        "zh-CN": "（投票「{quote}」：选择了 {choice}）",
        "zh-TW": "（投票「{quote}」：選擇了 {choice}）",
        "en": "(Vote in “{quote}”: {choice})",
        "ja": "（投票「{quote}」：{choice} を選択）",
    },
    "agent.speaker": {
        "zh-CN": "{name}：{text}",
        "zh-TW": "{name}：{text}",
        "en": "{name}: {text}",
        "ja": "{name}：{text}",
    },
    "agent.sender": {
        "zh-CN": "（以上由 {name} 发送）",
        "zh-TW": "（以上由 {name} 傳送）",
        "en": "(sent by {name})",
        "ja": "（{name} さんが送信しました）",
    },
    "agent.asked_robot": {
        "zh-CN": "（客户刚才问过机器人：{text}）",
        "zh-TW": "（客戶剛才問過機器人：{text}）",
        "en": "(The customer has asked the robot: {text})",
        "ja": "（お客様はロボットにこう質問しました：{text}）",
    },
    "agent.robot_answered": {
        "zh-CN": "（机器人已回复：{answers}）",
        "zh-TW": "（機器人已回覆：{answers}）",
        "en": "(The robot has answered: {answers})",
        "ja": "（ロボットの回答：{answers}）",
    },
    "agent.joined": {
        "zh-CN": "（{name} 进入了房间）",
        "zh-TW": "（{name} 進入了聊天室）",
        "en": "({name} has come into the room)",
        "ja": "（{name} さんがルームに参加しました）",
    },
    "agent.left": {
        "zh-CN": "（{name} 离开了房间）",
        "zh-TW": "（{name} 離開了聊天室）",
        "en": "({name} has left the room)",
        "ja": "（{name} さんがルームを退出しました）",
    },
    "agent.poll": {
        "zh-CN": "投票：{text}",
        "zh-TW": "投票：{text}",
        "en": "Poll: {text}",
        "ja": "アンケート：{text}",
    },
}
