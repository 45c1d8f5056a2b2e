"""Sentences about a room: entering it, commands, configuration, refusals."""

SENTENCES: dict[str, dict[str, str]] = {
    "room.welcome": {
        "zh-CN": "您好！这里连接「{queue}」的人工客服。直接发消息即可开始；发送 {prefix} help 查看可用命令。",
        "en": "Hello! This room reaches the agents of {queue}. Just write to begin; send {prefix} help for what else you can do.",
    },
    "room.host_here": {
        "zh-CN": "本房间已经连接客服，不需要再邀请其他账号。",
        "en": "This room is connected already; no other account of ours needs to be here.",
    },
    "room.upgraded": {
        "zh-CN": "房间已升级。请在新房间里重新邀请我。",
        "en": "This room was upgraded. Please invite me in the new one.",
    },
    "encrypted.unsupported": {
        "zh-CN": "⚠️ 这个房间已加密，本服务没有启用加密功能，无法读取加密消息。请新建一个不加密的房间并邀请我。",
        "en": "⚠️ This room is encrypted, and encryption is switched off here, so I cannot read encrypted messages. Please invite me to a room without encryption.",
    },
    "unreadable.encrypted": {
        "zh-CN": "这条消息是加密的，本服务没有启用加密功能，没有送达。请在不加密的房间里发送。",
        "en": "This message is encrypted, and encryption is switched off here, so it was not delivered. Please write in a room without encryption.",
    },
    "unreadable.encrypted_file": {
        "zh-CN": "这个文件的加密方式无法识别，没有送达。请重新发送。",
        "en": "This file is encrypted in a way that I do not know, so it was not delivered. Please send it again.",
    },
    "unreadable.no_key": {
        "zh-CN": "🔑 这条消息的解密密钥还没有收到，暂时没有送达。密钥一到会自动送达（最多等待一小时）；也可以重新发送。",
        "en": "🔑 The key to this message has not arrived, so it was not delivered yet. It will be delivered if the key comes within an hour; you may also send it again.",
    },
    "unreadable.undecryptable": {
        "zh-CN": "🔑 这条加密消息无法解密，没有送达。请重新发送。",
        "en": "🔑 This encrypted message cannot be decrypted, so it was not delivered. Please send it again.",
    },
    "unreadable.withheld.blocked": {
        "zh-CN": "🔑 您的客户端屏蔽了客服账号的设备，没有发送密钥，消息没有送达。请解除屏蔽后重新发送。",
        "en": "🔑 Your app has blocked our device and keeps the key back, so this message was not delivered. Unblock it and send the message again.",
    },
    "unreadable.withheld.unverified": {
        "zh-CN": "🔑 您的客户端只向已验证的设备发送密钥，消息没有送达。请在客户端允许未验证的设备，或验证本账号，然后重新发送。",
        "en": "🔑 Your app gives keys only to verified devices, so this message was not delivered. Allow unverified devices, or verify this account, and send it again.",
    },
    "unreadable.withheld.unauthorised": {
        "zh-CN": "🔑 您的客户端认为本账号无权阅读这条消息，没有发送密钥，消息没有送达。请重新发送。",
        "en": "🔑 Your app holds that we may not read this message and keeps the key back, so it was not delivered. Please send it again.",
    },
    "unreadable.withheld.other": {
        "zh-CN": "🔑 您的客户端没有发送这条消息的密钥，消息没有送达。请重新发送。",
        "en": "🔑 Your app did not send the key to this message, so it was not delivered. Please send it again.",
    },
    "unreadable.kind": {
        "zh-CN": "客服系统不支持这种消息，没有送达。请改用文字、图片或文件。",
        "en": "The call centre cannot show this kind of message, so it was not delivered. Please use text, pictures or files.",
    },
    "unreadable.call": {
        "zh-CN": "这里不能语音或视频通话，请改用文字或语音消息。",
        "en": "Calls do not reach the call centre. Please write, or send a voice message.",
    },
    "unreadable.live_location": {
        "zh-CN": "客服看不到实时位置，请改为发送一次当前位置。",
        "en": "The call centre cannot follow a live location. Please send your position once instead.",
    },
    "unreadable.malformed": {
        "zh-CN": "这条消息的格式有误，没有送达。请重新发送。",
        "en": "This message is malformed, so it was not delivered. Please send it again.",
    },
    "unreadable.blank": {
        "zh-CN": "这条消息没有内容，未发送。",
        "en": "This message is empty, so it was not sent.",
    },
    # --- refusals -------------------------------------------------------------------------------
    "refused.permission": {
        "zh-CN": "抱歉，{user} 没有使用本服务的权限。请联系服务器管理员。",
        "en": "Sorry, {user} may not use this service. Please ask the server's administrator.",
    },
    "refused.too_many_rooms": {
        "zh-CN": "抱歉，每人最多 {limit} 个房间。请先离开一个旧房间再邀请我。",
        "en": "Sorry, at most {limit} rooms per person. Please leave one of the others and invite me again.",
    },
    "refused.not_admin": {
        "zh-CN": "只有房间管理员（权限等级 50 以上）才能更改设置。",
        "en": "Only a room admin (power level 50 or more) may change this.",
    },
    "refused.standing_unknown": {
        "zh-CN": "暂时无法确认您的权限等级，设置未更改。请稍后再试。",
        "en": "Your power level cannot be checked at the moment, so nothing was changed. Please try again.",
    },
    # --- commands -------------------------------------------------------------------------------
    "command.help": {
        "zh-CN": (
            "直接发消息就会送到客服。命令：\n"
            "{prefix} start [队列] — 联系客服\n"
            "{prefix} cancel — 退出排队\n"
            "{prefix} close — 结束对话\n"
            "{prefix} rate <分数> [留言] — 评价\n"
            "{prefix} human — 转人工；{prefix} ask <问题> — 问机器人\n"
            "{prefix} status — 查看当前状态\n"
            "{prefix} queue list — 所有队列；queue show — 本房间的队列\n"
            "房间管理员：{prefix} config show|set <键> <值>|reset、queue set <队列>、lang <zh-CN|en>、from <PC|MOBILE|WECHAT|APP>、pause、resume"
        ),
        "en": (
            "Whatever you write goes to the agent. Commands:\n"
            "{prefix} start [queue] — ask for an agent\n"
            "{prefix} cancel — leave the queue\n"
            "{prefix} close — end the chat\n"
            "{prefix} rate <number> [comment] — rate the chat\n"
            "{prefix} human — talk to a person; {prefix} ask <question> — ask the robot\n"
            "{prefix} status — what is going on\n"
            "{prefix} queue list — all queues; queue show — this room's\n"
            "Room admins: {prefix} config show|set <key> <value>|reset, queue set <queue>, lang <zh-CN|en>, from <PC|MOBILE|WECHAT|APP>, pause, resume"
        ),
    },
    "command.version": {
        "zh-CN": "matrix-webchat-bridge {version}",
        "en": "matrix-webchat-bridge {version}",
    },
    "command.unknown": {
        "zh-CN": "没有这个命令。发送 {prefix} help 查看所有命令。",
        "en": "There is no such command. {prefix} help lists them all.",
    },
    "command.unknown_near": {
        "zh-CN": "没有这个命令。您是想用 {prefix} {near} 吗？",
        "en": "There is no such command. Did you mean {prefix} {near}?",
    },
    "command.queues": {
        "zh-CN": "可用队列：\n{list}",
        "en": "The queues:\n{list}",
    },
    "command.queue": {
        "zh-CN": "本房间的队列是「{queue}」。管理员可用 {prefix} queue set <队列> 更改。",
        "en": "This room's queue is {queue}. A room admin changes it with {prefix} queue set <queue>.",
    },
    "command.status_idle": {
        "zh-CN": "当前没有对话。队列：「{queue}」。保留的消息：{waiting} 条。",
        "en": "No chat at the moment. Queue: {queue}. Messages kept: {waiting}.",
    },
    "command.status_requesting": {
        "zh-CN": "正在联系「{queue}」。待发消息：{waiting} 条。",
        "en": "Asking {queue} for an agent. Messages waiting: {waiting}.",
    },
    "command.status_queued": {
        "zh-CN": "正在「{queue}」排队，位置：{position}。",
        "en": "Waiting for {queue}, position {position}.",
    },
    "command.status_chatting": {
        "zh-CN": "正在与 {names} 对话。待发消息：{waiting} 条。",
        "en": "Chatting with {names}. Messages waiting: {waiting}.",
    },
    "usage.help": {"zh-CN": "用法：{prefix} help", "en": "Usage: {prefix} help"},
    "usage.start": {"zh-CN": "用法：{prefix} start [队列]", "en": "Usage: {prefix} start [queue]"},
    "usage.cancel": {"zh-CN": "用法：{prefix} cancel", "en": "Usage: {prefix} cancel"},
    "usage.close": {"zh-CN": "用法：{prefix} close", "en": "Usage: {prefix} close"},
    "usage.ask": {
        "zh-CN": "用法：{prefix} ask <问题>，例如 {prefix} ask 怎样退货？",
        "en": "Usage: {prefix} ask <question>, for example {prefix} ask how do I return a parcel?",
    },
    "usage.human": {"zh-CN": "用法：{prefix} human", "en": "Usage: {prefix} human"},
    "usage.rate": {
        "zh-CN": "用法：{prefix} rate <分数> [留言]，例如 {prefix} rate 5 谢谢",
        "en": "Usage: {prefix} rate <number> [comment], for example {prefix} rate 5 thanks",
    },
    "usage.queue": {
        "zh-CN": "用法：{prefix} queue list、queue show 或 queue set <编号或名称>",
        "en": "Usage: {prefix} queue list, queue show or queue set <id or name>",
    },
    "usage.lang": {
        "zh-CN": "用法：{prefix} lang <zh-CN|en>",
        "en": "Usage: {prefix} lang <zh-CN|en>",
    },
    "usage.from": {
        "zh-CN": "用法：{prefix} from <PC|MOBILE|WECHAT|APP>",
        "en": "Usage: {prefix} from <PC|MOBILE|WECHAT|APP>",
    },
    "usage.config": {
        "zh-CN": "用法：{prefix} config show、config set <键> <值> 或 config reset；键：queue、from、language、start、paused",
        "en": "Usage: {prefix} config show, config set <key> <value> or config reset; keys: queue, from, language, start, paused",
    },
    "usage.status": {"zh-CN": "用法：{prefix} status", "en": "Usage: {prefix} status"},
    "usage.pause": {"zh-CN": "用法：{prefix} pause", "en": "Usage: {prefix} pause"},
    "usage.resume": {"zh-CN": "用法：{prefix} resume", "en": "Usage: {prefix} resume"},
    "usage.version": {"zh-CN": "用法：{prefix} version", "en": "Usage: {prefix} version"},
    # --- configuration --------------------------------------------------------------------------
    "config.bad_queue": {
        "zh-CN": "没有队列「{value}」，设置未更改。可用队列：{known}。",
        "en": "There is no queue “{value}”, so nothing was changed. The queues: {known}.",
    },
    "config.bad_value": {
        "zh-CN": "「{key}」不能设为「{value}」，设置未更改。可用的值：{known}。",
        "en": "“{key}” cannot be “{value}”, so nothing was changed. It takes: {known}.",
    },
    "config.bad_key": {
        "zh-CN": "没有设置项「{key}」，设置未更改。可用：{known}。",
        "en": "There is no setting “{key}”, so nothing was changed. Known: {known}.",
    },
    "config.shown": {
        "zh-CN": "本房间的设置：队列「{queue}」，来源 {source}，语言 {language}，开始方式 {start}，暂停 {paused}。",
        "en": "This room's settings: queue {queue}, from {source}, language {language}, start {start}, paused {paused}.",
    },
    "config.taken": {
        "zh-CN": "设置已生效：队列「{queue}」，来源 {source}，语言 {language}，开始方式 {start}，暂停 {paused}。",
        "en": "Settings taken: queue {queue}, from {source}, language {language}, start {start}, paused {paused}.",
    },
    "config.queue_set": {
        "zh-CN": "队列已设为「{queue}」，下次联系客服时生效。",
        "en": "The queue is now {queue}; it counts from the next request on.",
    },
    "config.language_set": {
        "zh-CN": "语言已设为 {language}。",
        "en": "The language is now {language}.",
    },
    "config.from_set": {
        "zh-CN": "来源已设为 {source}，下次联系客服时生效。",
        "en": "The source is now {source}; it counts from the next request on.",
    },
    "config.paused": {
        "zh-CN": "本房间的服务已暂停。",
        "en": "This room is paused.",
    },
    "config.resumed": {
        "zh-CN": "本房间的服务已恢复。",
        "en": "This room is served again.",
    },
}
