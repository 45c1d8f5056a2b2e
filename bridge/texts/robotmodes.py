"""Sentences about the knowledge base that answers before a person, or in place of one."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "robot.welcome": {
        "zh-CN": "您好！请直接提问，机器人会先为您解答；需要「{queue}」的人工客服，发送「人工」即可。发送 {prefix} help 查看可用命令。",
        "zh-TW": "您好！請直接提問，機器人會先為您解答；需要「{queue}」的真人客服，傳送「真人客服」即可。傳送 {prefix} help 查看可用指令。",
        "en": "Hello! Just ask: a robot answers first. For an agent of {queue} write “human”. Send {prefix} help for what else you can do.",
        "ja": "こんにちは。ご質問をそのままお送りください。まずロボットがお答えします。「{queue}」の担当者と話すには「担当者」と送信してください。使えるコマンドは {prefix} help で確認できます。",
    },
    "robot.alone.-3": {
        "zh-CN": "现在是非工作时间，没有人工客服，机器人继续为您服务。",
        "zh-TW": "目前不是服務時間，沒有真人客服，機器人會繼續為您服務。",
        "en": "It is outside opening hours, so no person can be reached; the robot goes on helping you.",
        "ja": "ただいま営業時間外のため、担当者におつなぎできません。引き続きロボットがお答えします。",
    },
    "robot.alone.-5": {
        "zh-CN": "目前没有客服在线，机器人继续为您服务。请稍后再试。",
        "zh-TW": "目前沒有客服在線上，機器人會繼續為您服務。請稍後再試。",
        "en": "No agent is online at the moment; the robot goes on helping you. Please try again later.",
        "ja": "ただいま対応できる担当者がおりません。引き続きロボットがお答えします。しばらくしてからもう一度お試しください。",
    },
    "robot.answers_first": {
        "zh-CN": "🤖 您可能想找：\n\n{answers}\n\n解决了请点 👍，或发送「已解决」；需要人工客服请点 👎，或发送「人工」。也可以换个说法继续问。",
        "zh-TW": "🤖 您可能想找：\n\n{answers}\n\n解決了請點 👍，或傳送「已解決」；需要真人客服請點 👎，或傳送「真人客服」。也可以換個說法繼續問。",
        "en": "🤖 This may be what you need:\n\n{answers}\n\nSolved? Tap 👍 or write “solved”. To talk to a person, tap 👎 or write “human”. Or just ask in other words.",
        "ja": "🤖 こちらがお役に立つかもしれません：\n\n{answers}\n\n解決した場合は 👍 を押すか「解決しました」と送信してください。担当者と話すには 👎 を押すか「担当者」と送信してください。言い方を変えて質問することもできます。",
    },
    "robot.answers_kept": {
        "zh-CN": "🤖 也许这能先帮到您：\n\n{answers}\n\n解决了请点 👍，这条留言就不再转给客服；否则仍为您保留。",
        "zh-TW": "🤖 也許這能先幫到您：\n\n{answers}\n\n解決了請點 👍，這則留言就不再轉給客服；否則仍為您保留。",
        "en": "🤖 This may help in the meantime:\n\n{answers}\n\nSolved? Tap 👍, and your message will not go to an agent. Otherwise it stays kept for you.",
        "ja": "🤖 さしあたり、こちらがお役に立つかもしれません：\n\n{answers}\n\n解決した場合は 👍 を押してください。メッセージは担当者に送られません。それ以外の場合は、そのまま保管します。",
    },
    "robot.solved": {
        "zh-CN": "✅ 好的，您的问题不会再转给客服。还需要帮助时直接发消息即可。",
        "zh-TW": "✅ 好的，您的問題不會再轉給客服。還需要協助時直接傳送訊息即可。",
        "en": "✅ All right: your question will not go to an agent. Just write if you need anything else.",
        "ja": "✅ 承知しました。ご質問は担当者には送られません。ほかにご用があれば、そのままメッセージを送ってください。",
    },
    "robot.none_open": {
        "zh-CN": "现在没有待解决的问题。",
        "zh-TW": "現在沒有待解決的問題。",
        "en": "There is no open question at the moment.",
        "ja": "現在、未解決のご質問はありません。",
    },
    "robot.person_nothing": {
        "zh-CN": "🤖 没有找到相关内容，您的问题会交给人工客服。",
        "zh-TW": "🤖 沒有找到相關內容，您的問題會交給真人客服。",
        "en": "🤖 Nothing was found, so your question goes to a person.",
        "ja": "🤖 該当する情報が見つからないため、ご質問は担当者にお渡しします。",
    },
    "robot.person_unreachable": {
        "zh-CN": "🤖 机器人暂时无法回答，您的问题会交给人工客服。",
        "zh-TW": "🤖 機器人暫時無法回答，您的問題會交給真人客服。",
        "en": "🤖 The robot cannot answer at the moment, so your question goes to a person.",
        "ja": "🤖 現在ロボットが回答できないため、ご質問は担当者にお渡しします。",
    },
    "robot.person_file": {
        "zh-CN": "🤖 机器人看不了文件和位置，会交给人工客服。",
        "zh-TW": "🤖 機器人看不了檔案和位置，會交給真人客服。",
        "en": "🤖 The robot cannot look at files or places, so this goes to a person.",
        "ja": "🤖 ロボットはファイルや位置情報を確認できないため、担当者にお渡しします。",
    },
    "robot.person_long": {
        "zh-CN": "🤖 这条消息太长，机器人读不了，会交给人工客服。",
        "zh-TW": "🤖 這則訊息太長，機器人讀不了，會交給真人客服。",
        "en": "🤖 This is too long for the robot, so it goes to a person.",
        "ja": "🤖 メッセージが長すぎてロボットでは扱えないため、担当者にお渡しします。",
    },
}
