"""Sentences about rating a chat: the question, the answers, and what became of one."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "rating.ask": {
        "zh-CN": "请评价本次服务：\n{options}\n可在投票中点选，给这条消息加表情（1️⃣ 2️⃣ …、👍 或 👎），或发送 {prefix} rate {best} 谢谢。",
        "zh-TW": "請為這次服務評分：\n{options}\n您可以在投票中點選、對這則訊息加上表情符號（1️⃣ 2️⃣ …、👍 或 👎），或傳送 {prefix} rate {best} 謝謝。",
        "en": "How was this chat?\n{options}\nVote in the poll, react to this message (1️⃣ 2️⃣ …, 👍 or 👎), or send {prefix} rate {best} thanks.",
        "ja": "今回の対応はいかがでしたか？\n{options}\nアンケートで選ぶか、このメッセージに絵文字（1️⃣ 2️⃣ …、👍、👎）を付けるか、{prefix} rate {best} ありがとう のように送信してください。",
    },
    "rating.question": {
        "zh-CN": "您对本次服务满意吗？",
        "zh-TW": "您對這次服務滿意嗎？",
        "en": "How satisfied are you with this chat?",
        "ja": "今回の対応にご満足いただけましたか？",
    },
    "rating.stars_5": {
        "zh-CN": "非常满意",
        "zh-TW": "非常滿意",
        "en": "Very satisfied",
        "ja": "とても満足",
    },
    "rating.stars_4": {
        "zh-CN": "满意",
        "zh-TW": "滿意",
        "en": "Satisfied",
        "ja": "満足",
    },
    "rating.stars_3": {
        "zh-CN": "一般",
        "zh-TW": "普通",
        "en": "Neither satisfied nor dissatisfied",
        "ja": "どちらともいえない",
    },
    "rating.stars_2": {
        "zh-CN": "不满意",
        "zh-TW": "不滿意",
        "en": "Dissatisfied",
        "ja": "不満",
    },
    "rating.stars_1": {
        "zh-CN": "非常不满意",
        "zh-TW": "非常不滿意",
        "en": "Very dissatisfied",
        "ja": "とても不満",
    },
    "rating.settled": {
        "zh-CN": "这次对话的评价已提交超过五分钟，不能再修改。",
        "zh-TW": "這次對話的評分已送出超過五分鐘，無法再修改。",
        "en": "That chat was rated more than five minutes ago; the rating can no longer be changed.",
        "ja": "評価から5分以上たっているため、変更できません。",
    },
    "rating.thanks": {
        "zh-CN": "感谢您的评价：{rating}。五分钟内可以修改，下一次对话开始后不能再改。",
        "zh-TW": "感謝您的評分：{rating}。五分鐘內可以修改，下一次對話開始後無法再改。",
        "en": "Thank you for your rating: {rating}. You may change it for five minutes, or until your next chat begins.",
        "ja": "評価「{rating}」をありがとうございました。5分以内であれば、次のチャットが始まるまで変更できます。",
    },
    "rating.changed": {
        "zh-CN": "评价已改为：{rating}。谢谢！从第一次评价起五分钟内仍可修改。",
        "zh-TW": "評分已改為：{rating}。謝謝！從第一次評分起五分鐘內仍可修改。",
        "en": "Your rating has been changed to: {rating}. Thank you! You may change it until five minutes after the first one.",
        "ja": "評価を「{rating}」に変更しました。ありがとうございます。最初の評価から5分以内は変更できます。",
    },
    "rating.which": {
        "zh-CN": "只有一颗 ⭐，看不出是哪个评分。您想选哪一个？\n{options}\n请给评价的问题加数字表情（1️⃣ 2️⃣ …），或发送 {prefix} rate {best}。",
        "zh-TW": "只有一顆 ⭐，看不出是哪個評分。您想選哪一個？\n{options}\n請對評分的問題加上數字表情符號（1️⃣ 2️⃣ …），或傳送 {prefix} rate {best}。",
        "en": "How many stars? A ⭐ alone does not say which rating you mean:\n{options}\nReact to the question with a number (1️⃣ 2️⃣ …), or send {prefix} rate {best}.",
        "ja": "⭐ だけでは、どの評価か分かりません。次のどれでしょうか？\n{options}\n評価の質問に数字の絵文字（1️⃣ 2️⃣ …）を付けるか、{prefix} rate {best} のように送信してください。",
    },
    "rating.closed": {
        "zh-CN": "评价已结束。",
        "zh-TW": "評分已結束。",
        "en": "The rating is closed.",
        "ja": "評価の受付は終了しました。",
    },
    "rating.nothing": {
        "zh-CN": "还没有可以评价的对话。",
        "zh-TW": "還沒有可以評分的對話。",
        "en": "There is no chat to rate yet.",
        "ja": "評価できるチャットはまだありません。",
    },
    "rating.unknown": {
        "zh-CN": "没有 {value} 这个评分，可选的有：\n{options}",
        "zh-TW": "沒有 {value} 這個評分，可選的有：\n{options}",
        "en": "There is no rating {value}. These are the ratings:\n{options}",
        "ja": "{value} という評価はありません。次の中からお選びください。\n{options}",
    },
    "rating.too_late": {
        "zh-CN": "这次对话已经不能再评价了。",
        "zh-TW": "這次對話已經無法再評分了。",
        "en": "That chat can no longer be rated.",
        "ja": "このチャットはもう評価できません。",
    },
    "rating.refused": {
        "zh-CN": "客服系统没有接受这个评分（代码 {code}）。请换一个分数再试。",
        "zh-TW": "客服系統沒有接受這個評分（代碼 {code}）。請換個分數再試。",
        "en": "The call centre did not accept this rating (code {code}). Please try another number.",
        "ja": "この評価は受け付けられませんでした（コード {code}）。別の数字でお試しください。",
    },
    "rating.failed": {
        "zh-CN": "客服系统没有确认您的评价，它可能没有送达。请稍后再评一次。",
        "zh-TW": "客服系統沒有確認您的評分，它可能沒有送達。請稍後再評一次。",
        "en": "The call centre has not confirmed your rating, so it may not have arrived. Please rate again later.",
        "ja": "コールセンターから評価の受信確認がなく、届いていない可能性があります。しばらくしてからもう一度評価してください。",
    },
}
