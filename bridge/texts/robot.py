"""Sentences about the robot: its answers, and the way from it to a person."""

SENTENCES: dict[str, dict[str, str]] = {
    "robot.answers": {
        "zh-CN": "🤖 找到以下内容：\n\n{answers}\n\n解决了吗？给这条消息加 👍；要找人工客服，加 👎 或发送 {prefix} human。",
        "en": "🤖 This may help:\n\n{answers}\n\nSolved? React with 👍. To talk to a person, react with 👎 or send {prefix} human.",
    },
    "robot.nothing": {
        "zh-CN": "🤖 没有找到相关内容。可以换个说法再问，或发送 {prefix} human 联系人工客服。",
        "en": "🤖 Nothing was found. Ask in other words, or send {prefix} human to talk to a person.",
    },
    "robot.too_long": {
        "zh-CN": "🤖 问题太长，请控制在 1000 字以内；或发送 {prefix} human 联系人工客服。",
        "en": "🤖 That is too long; please use at most 1,000 characters, or send {prefix} human to talk to a person.",
    },
    "robot.unreachable": {
        "zh-CN": "🤖 机器人暂时无法回答。请稍后再问，或发送 {prefix} human 联系人工客服。",
        "en": "🤖 The robot cannot answer at the moment. Ask again later, or send {prefix} human to talk to a person.",
    },
    "robot.off": {
        "zh-CN": "这里没有机器人。发送 {prefix} human 可联系人工客服。",
        "en": "There is no robot here. Send {prefix} human to talk to a person.",
    },
    "robot.person_offered": {
        "zh-CN": "要找人工客服，请发送 {prefix} human。",
        "en": "To talk to a person, send {prefix} human.",
    },
    "robot.transferring": {
        "zh-CN": "⏳ 正在为您转接人工客服…",
        "en": "⏳ Looking for a person to help you…",
    },
    "robot.position": {
        "zh-CN": "⏳ 「{queue}」转人工排队中：您排在第 {position} 位，期间可以继续问机器人。",
        "en": "⏳ Waiting for a person of {queue}: you are number {position}. The robot still answers meanwhile.",
    },
    "robot.refused": {
        "zh-CN": "暂时无法转接人工客服（代码 {code}），机器人继续为您服务。",
        "en": "No person can be reached now (code {code}); the robot goes on.",
    },
}
