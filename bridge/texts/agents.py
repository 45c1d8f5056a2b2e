"""Sentences that agents read at their desk: what a customer did, where words of theirs say less."""

SENTENCES: dict[str, dict[str, str]] = {
    "agent.reply": {
        "zh-CN": "回复「{quote}」：\n{text}",
        "en": "In reply to “{quote}”:\n{text}",
    },
    "agent.corrected": {
        "zh-CN": "更正：{text}",
        "en": "Correction: {text}",
    },
    "agent.change": {
        "zh-CN": "「{old}」→「{new}」",
        "en": "“{old}” → “{new}”",
    },
    "agent.withdrawn": {
        "zh-CN": "已撤回消息：「{quote}」",
        "en": "Taken back: “{quote}”",
    },
    "agent.reacted": {
        "zh-CN": "{reaction}（对「{quote}」的回应）",
        "en": "{reaction} (in reaction to “{quote}”)",
    },
    "agent.speaker": {
        "zh-CN": "{name}：{text}",
        "en": "{name}: {text}",
    },
    "agent.sender": {
        "zh-CN": "（以上由 {name} 发送）",
        "en": "(sent by {name})",
    },
    "agent.asked_robot": {
        "zh-CN": "（客户刚才问过机器人：{text}）",
        "en": "(The customer has asked the robot: {text})",
    },
    "agent.joined": {
        "zh-CN": "（{name} 进入了房间）",
        "en": "({name} has come into the room)",
    },
    "agent.left": {
        "zh-CN": "（{name} 离开了房间）",
        "en": "({name} has left the room)",
    },
    "agent.poll": {
        "zh-CN": "投票：{text}",
        "en": "Poll: {text}",
    },
}
