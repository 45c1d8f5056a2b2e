"""Sentences about the robot: its answers, and the way from it to a person."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "robot.answers": {
        "zh-CN": "🤖 找到以下内容：\n\n{answers}\n\n解决了吗？给这条消息加 👍；要找人工客服，加 👎 或发送 {prefix} human。",
        "zh-TW": "🤖 找到以下內容：\n\n{answers}\n\n解決了嗎？請對這則訊息加上 👍；要找真人客服，請加上 👎 或傳送 {prefix} human。",
        "en": "🤖 This may help:\n\n{answers}\n\nSolved? React with 👍. To talk to a person, react with 👎 or send {prefix} human.",
        "ja": "🤖 こちらの情報が見つかりました：\n\n{answers}\n\n解決した場合は 👍 を付けてください。担当者と話すには、👎 を付けるか {prefix} human と送信してください。",
    },
    "robot.nothing": {
        "zh-CN": "🤖 没有找到相关内容。可以换个说法再问，或发送 {prefix} human 联系人工客服。",
        "zh-TW": "🤖 沒有找到相關內容。您可以換個說法再問，或傳送 {prefix} human 聯絡真人客服。",
        "en": "🤖 Nothing was found. Ask in other words, or send {prefix} human to talk to a person.",
        "ja": "🤖 該当する情報が見つかりませんでした。別の言葉で質問するか、{prefix} human と送信して担当者にお問い合わせください。",
    },
    "robot.too_long": {
        "zh-CN": "🤖 问题太长，请控制在 1000 字以内；或发送 {prefix} human 联系人工客服。",
        "zh-TW": "🤖 問題太長，請縮短到 1000 字以內；或傳送 {prefix} human 聯絡真人客服。",
        "en": "🤖 That is too long; please use at most 1,000 characters, or send {prefix} human to talk to a person.",
        "ja": "🤖 質問が長すぎます。1000文字以内にするか、{prefix} human と送信して担当者にお問い合わせください。",
    },
    "robot.unreachable": {
        "zh-CN": "🤖 机器人暂时无法回答。请稍后再问，或发送 {prefix} human 联系人工客服。",
        "zh-TW": "🤖 機器人暫時無法回答。請稍後再問，或傳送 {prefix} human 聯絡真人客服。",
        "en": "🤖 The robot cannot answer at the moment. Ask again later, or send {prefix} human to talk to a person.",
        "ja": "🤖 ただいまロボットが回答できません。しばらくしてからもう一度質問するか、{prefix} human と送信して担当者にお問い合わせください。",
    },
    "robot.off": {
        "zh-CN": "这里没有机器人。发送 {prefix} human 可联系人工客服。",
        "zh-TW": "這裡沒有機器人。傳送 {prefix} human 可聯絡真人客服。",
        "en": "There is no robot here. Send {prefix} human to talk to a person.",
        "ja": "ここではロボットをご利用いただけません。{prefix} human と送信すると担当者におつなぎします。",
    },
    "robot.person_offered": {
        "zh-CN": "要找人工客服，请点 🙋，或发送 {prefix} human。",
        "zh-TW": "要找真人客服，請點 🙋，或傳送 {prefix} human。",
        "en": "To talk to a person, tap 🙋 or send {prefix} human.",
        "ja": "担当者と話すには、🙋 を押すか {prefix} human と送信してください。",
    },
    "robot.transferring": {
        "zh-CN": "⏳ 正在为您转接人工客服…",
        "zh-TW": "⏳ 正在為您轉接真人客服…",
        "en": "⏳ Looking for a person to help you…",
        "ja": "⏳ 担当者におつなぎしています…",
    },
    "robot.position": {
        "zh-CN": "⏳ 「{queue}」转人工排队中：您排在第 {position} 位，期间可以继续问机器人。",
        "zh-TW": "⏳ 「{queue}」轉接真人客服排隊中：您排在第 {position} 位，期間可以繼續問機器人。",
        "en": "⏳ Waiting for a person of {queue}: you are number {position}. The robot still answers meanwhile.",
        "ja": "⏳ 「{queue}」の担当者の順番待ち：ただいま{position}番目です。待っている間もロボットに質問できます。",
    },
    "robot.refused": {
        "zh-CN": "暂时无法转接人工客服（代码 {code}），机器人继续为您服务。",
        "zh-TW": "暫時無法轉接真人客服（代碼 {code}），機器人會繼續為您服務。",
        "en": "No person can be reached at the moment (code {code}); the robot goes on helping you.",
        "ja": "ただいま担当者におつなぎできません（コード {code}）。引き続きロボットがお答えします。",
    },
}
