"""Sentences about a conversation: queue, chat, rating, and what could not be delivered."""

SENTENCES: dict[str, dict[str, str]] = {
    # --- the queue card -------------------------------------------------------------------------
    "queue.asking": {
        "zh-CN": "⏳ 正在为您联系「{queue}」的客服…",
        "en": "⏳ Asking {queue} for an agent…",
    },
    "queue.position": {
        "zh-CN": "⏳ 「{queue}」排队中：您排在第 {position} 位。您可以先留言，客服接入后会看到；加 ❌ 或发送 {prefix} cancel 可退出排队。",
        "en": "⏳ Waiting for {queue}: you are number {position}. You may write already, the agent will see it. ❌ on this message, or {prefix} cancel, leaves the queue.",
    },
    "queue.accepted": {
        "zh-CN": "⏳ 客服已接受您的请求，马上为您接通…",
        "en": "⏳ An agent has accepted, the chat is about to begin…",
    },
    "queue.joined": {
        "zh-CN": "✅ 已接通：{names}",
        "en": "✅ Connected: {names}",
    },
    "queue.joined_unnamed": {
        "zh-CN": "✅ 已接通客服",
        "en": "✅ Connected",
    },
    "queue.ended": {
        "zh-CN": "⏹ 排队已结束。",
        "en": "⏹ No longer waiting.",
    },
    "queue.cancelled": {
        "zh-CN": "⏹ 您已退出排队。",
        "en": "⏹ You have left the queue.",
    },
    "queue.kept": {
        "zh-CN": "您的 {count} 条消息已为您保留，下次排队时会一并发给客服；发送 {prefix} cancel 可放弃它们。",
        "en": "Messages kept for you: {count}. They go to the agent with your next request; {prefix} cancel drops them.",
    },
    # --- asking for a chat ----------------------------------------------------------------------
    "start.needed": {
        "zh-CN": "消息已为您保留。发送 {prefix} start 即可联系客服。",
        "en": "Your message is kept. Send {prefix} start to reach an agent.",
    },
    "start.already_queued": {
        "zh-CN": "您已经在排队了。",
        "en": "You are already waiting for an agent.",
    },
    "start.leaving": {
        "zh-CN": "正在为您退出排队。请稍后再发送 {prefix} start。",
        "en": "You are just leaving the queue. Send {prefix} start again in a moment.",
    },
    "start.already_chatting": {
        "zh-CN": "您已经在与客服对话了，直接发消息即可。",
        "en": "You are already in a chat: just write.",
    },
    "cancel.nothing": {
        "zh-CN": "您现在没有在排队。",
        "en": "You are not waiting in a queue.",
    },
    "cancel.chatting": {
        "zh-CN": "客服已经接通。要结束对话，请发送 {prefix} close。",
        "en": "The chat has begun already. To end it, send {prefix} close.",
    },
    "cancel.refused": {
        "zh-CN": "客服系统没有接受退出排队（代码 {code}），您仍在排队中。",
        "en": "The call centre would not let you leave (code {code}); you are still in the queue.",
    },
    "close.nothing": {
        "zh-CN": "现在没有进行中的对话。",
        "en": "There is no chat to end.",
    },
    "close.refused": {
        "zh-CN": "客服系统没有接受结束对话（代码 {code}），对话仍在进行。",
        "en": "The call centre did not end the chat (code {code}); it goes on.",
    },
    # --- the chat -------------------------------------------------------------------------------
    "chat.started": {
        "zh-CN": "{names} 已加入，正在为您服务。",
        "en": "{names} is here to help you.",
    },
    "chat.started_unnamed": {
        "zh-CN": "客服已接入，正在为您服务。",
        "en": "An agent is here to help you.",
    },
    "chat.agent_joined": {
        "zh-CN": "{names} 加入了对话。",
        "en": "{names} joined the chat.",
    },
    "chat.agent_left": {
        "zh-CN": "{names} 离开了对话。",
        "en": "{names} left the chat.",
    },
    "chat.transferred": {
        "zh-CN": "{old} 已将对话转接给 {new}。",
        "en": "{old} has handed you over to {new}.",
    },
    "chat.ended": {
        "zh-CN": "⏹ 客服已结束本次对话。再发一条消息即可重新联系客服。",
        "en": "⏹ The agent has ended the chat. Write again to start a new one.",
    },
    "chat.ended_by_you": {
        "zh-CN": "⏹ 您已结束本次对话。再发一条消息即可重新联系客服。",
        "en": "⏹ You have ended the chat. Write again to start a new one.",
    },
    "chat.ended_unheard": {
        "zh-CN": "⏹ 客服系统长时间无法连接，我们已在这边结束对话；客服那边可能仍显示进行中。",
        "en": "⏹ The call centre could not be reached for a long time, so the chat was ended on this side only; the agent may still see it as open.",
    },
    "chat.lost": {
        "zh-CN": "刚才的对话在客服系统中已结束，正在为您重新排队，您的消息不会丢失。",
        "en": "The call centre had already ended this chat. Asking for a new one; your message goes along.",
    },
    "chat.notice": {
        "zh-CN": "ℹ️ {text}",
        "en": "ℹ️ {text}",
    },
    "chat.robot": {
        "zh-CN": "🤖 {text}",
        "en": "🤖 {text}",
    },
    "chat.media_failed": {
        "zh-CN": "{agent} 发来文件「{name}」，但文件无法取得。请让客服重新发送。",
        "en": "{agent} sent the file “{name}”, but it could not be fetched. Please ask for it again.",
    },
    "chat.unknown": {
        "zh-CN": "{agent} 发来一条这里无法显示的消息（类型 {type}）。请让客服换一种方式发送。",
        "en": "{agent} sent a message that cannot be shown here (type {type}). Please ask for it in another form.",
    },
    # --- rating ---------------------------------------------------------------------------------
    "rating.ask": {
        "zh-CN": "请评价本次服务：\n{options}\n可在投票中点选，给这条消息加表情（1️⃣ 2️⃣ …、⭐、👍 或 👎），或发送 {prefix} rate {best} 谢谢。",
        "en": "How was this chat?\n{options}\nVote in the poll, react to this message (1️⃣ 2️⃣ …, ⭐, 👍 or 👎), or send {prefix} rate {best} thanks.",
    },
    "rating.question": {
        "zh-CN": "您对本次服务满意吗？",
        "en": "How satisfied are you with this chat?",
    },
    "rating.stars_5": {"zh-CN": "非常满意", "en": "Very satisfied"},
    "rating.stars_4": {"zh-CN": "满意", "en": "Satisfied"},
    "rating.stars_3": {"zh-CN": "一般", "en": "Neither satisfied nor dissatisfied"},
    "rating.stars_2": {"zh-CN": "不满意", "en": "Dissatisfied"},
    "rating.stars_1": {"zh-CN": "非常不满意", "en": "Very dissatisfied"},
    "rating.settled": {
        "zh-CN": "这次对话的评价已提交超过五分钟，不能再修改。",
        "en": "That chat was rated more than five minutes ago; the rating can no longer be changed.",
    },
    "rating.thanks": {
        "zh-CN": "感谢您的评价！",
        "en": "Thank you for your rating!",
    },
    "rating.nothing": {
        "zh-CN": "还没有可以评价的对话。",
        "en": "There is no chat to rate yet.",
    },
    "rating.too_late": {
        "zh-CN": "这次对话已经不能再评价了。",
        "en": "That chat can no longer be rated.",
    },
    "rating.refused": {
        "zh-CN": "客服系统没有接受这个评分（代码 {code}）。请换一个分数再试。",
        "en": "The call centre did not accept this rating (code {code}). Please try another number.",
    },
    "rating.failed": {
        "zh-CN": "客服系统一直无法连接，您的评价没有送达。请稍后再评一次。",
        "en": "The call centre could not be reached, so your rating did not arrive. Please rate again later.",
    },
    # --- trouble --------------------------------------------------------------------------------
    "trouble.unreachable": {
        "zh-CN": "⚠️ 暂时无法连接客服系统。您的消息已保留，恢复后会自动发送。",
        "en": "⚠️ The call centre cannot be reached at the moment. Your messages are kept and go out when it is back.",
    },
    "trouble.over": {
        "zh-CN": "✅ 已恢复与客服系统的连接。",
        "en": "✅ The call centre can be reached again.",
    },
    "trouble.given_up": {
        "zh-CN": "客服系统长时间无法连接，排队请求已放弃。请稍后再发一条消息重试。",
        "en": "The call centre could not be reached for a long time, so the request was given up. Please write again later.",
    },
    "trouble.other_chat": {
        "zh-CN": "客服系统显示您还有一个未结束的对话，但这里无法接入。请稍后再发一条消息；若仍不行，请联系管理员。",
        "en": "The call centre says that you have a chat open which cannot be reached from here. Please write again later, and tell an administrator if that fails too.",
    },
    "trouble.login_refused": {
        "zh-CN": "⚠️ 客服系统拒绝了本房间的登录，这需要管理员处理。",
        "en": "⚠️ The call centre refused this room's login. An administrator has to look into it.",
    },
    "trouble.sign_refused": {
        "zh-CN": "⚠️ 客服系统拒绝了网桥的签名，这需要管理员处理。",
        "en": "⚠️ The call centre refused the bridge's signature. An administrator has to look into it.",
    },
    # --- replies to a message that was not delivered --------------------------------------------
    "undelivered.blank": {
        "zh-CN": "这条消息没有内容，未发送。",
        "en": "This message is empty, so it was not sent.",
    },
    "undelivered.cancelled": {
        "zh-CN": "您已退出排队，这条消息没有送给客服。",
        "en": "You left the queue, so this message did not go to an agent.",
    },
    "undelivered.closed": {
        "zh-CN": "对话在此之前已结束，这条消息没有送给客服。如仍需要，请重新发送。",
        "en": "The chat had ended before, so this message did not reach the agent. Send it again if you still need to.",
    },
    "undelivered.expired": {
        "zh-CN": "等待时间太长，这条消息没有送达。如仍需要，请重新发送。",
        "en": "This message waited too long and was not delivered. Send it again if you still need to.",
    },
    "undelivered.uncertain": {
        "zh-CN": "连接多次中断，无法确认这条消息是否送达。请问一下客服，或重新发送。",
        "en": "The connection broke several times: this message may or may not have arrived. Ask the agent, or send it again.",
    },
    "undelivered.refused": {
        "zh-CN": "客服系统拒绝了这条消息（代码 {code}），没有送达。",
        "en": "The call centre refused this message (code {code}); it was not delivered.",
    },
    "undelivered.too_big": {
        "zh-CN": "这条消息太大，客服系统无法接收。请发送小一些的内容。",
        "en": "This is too big for the call centre and was not delivered. Please send something smaller.",
    },
    "undelivered.extension": {
        "zh-CN": "客服系统不接收这种文件，没有送达。可以发送：{allowed}。",
        "en": "The call centre does not take this kind of file, so it was not delivered. It takes: {allowed}.",
    },
    "undelivered.media_gone": {
        "zh-CN": "无法从您的服务器取得这个文件，没有送达。请重新发送。",
        "en": "Your homeserver no longer gives out this file, so it was not delivered. Please send it again.",
    },
    "undelivered.too_many": {
        "zh-CN": "等待发送的消息已达 {limit} 条，这条没有收下。请稍后再发。",
        "en": "{limit} messages are waiting already, so this one was not taken. Please send it again later.",
    },
    "undelivered.too_fast": {
        "zh-CN": "每分钟最多 {limit} 条消息，这条没有送达。请稍后再发。",
        "en": "At most {limit} messages a minute: this one was not delivered. Please send it again in a moment.",
    },
    "undelivered.late_correction": {
        "zh-CN": "对话已经结束，这条更正没有送达。",
        "en": "The chat is over, so this correction was not delivered.",
    },
    "undelivered.paused": {
        "zh-CN": "本房间的服务已暂停，这条消息没有送达。管理员可发送 {prefix} resume 恢复。",
        "en": "This room is paused, so this message was not delivered. A room admin can send {prefix} resume.",
    },
    "undelivered.internal": {
        "zh-CN": "网桥处理这条消息时出错，没有送达。请重新发送；若再次出现，请联系管理员。",
        "en": "The bridge failed on this message; it was not delivered. Please send it again, and tell an administrator if that fails too.",
    },
}
