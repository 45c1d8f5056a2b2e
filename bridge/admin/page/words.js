// Everything that the console and the room page say, in English and Chinese.

import { kept } from "./dom.js";

const WORDS = {
  en: {
    consoleTitle: "WebChat console", roomTitle: "WebChat in this room", skip: "Skip to content", language: "中文",
    theme: "Light or dark", auto: "as in the system", light: "light", dark: "dark", menu: "Pages",
    signIn: "Sign in", signInHint: "Run this on the bridge's machine; the link that it prints works once, within ten minutes:",
    signOut: "Sign out", signedInAs: "signed in as {who}", signedOut: "You are signed out.",
    linkExpired: "This link is invalid or has expired: get a new one.", linkUsed: "This link has been used already: get a new one.",
    tooMany: "Too many attempts. Please wait a minute.",
    notOurPage: "This page is open at another address than the configured one. The operator has to set console.public_url to the address in your browser.",
    fresh: "up to date", stale: "no answer, trying again…", failed: "Failed: {reason}", noAnswer: "The bridge does not answer. Please try again.", loading: "Loading…",
    live: "Live", waits: "Waiting times", links: "Links", deliveries: "Deliveries", dead: "Dead letters", health: "Health", changes: "Changes",
    queues: "Queues", queue: "Queue", waiting: "Waiting", chatting: "In a chat", open: "open", closed: "closed", opensAt: "opens {time}",
    noHours: "no hours", usual: "Usual wait", hours: "Hours", state: "State", range: "{low} to {high}", unknownWait: "not known yet",
    Requesting: "Requesting an agent", Queued: "In the queue", Chatting: "In a chat", Idle: "Idle", Ended: "Ended", nobody: "Nobody",
    allQueues: "All queues", inQueue: "Show", place: "place {place}", since: "since {time}", agents: "with {names}", held: "{count} held",
    room: "Room", customer: "Customer", chats: "Chats", settings: "Settings", asked: "Asked", started: "Started", endedAt: "Ended", how: "How it ended",
    rating: "Rating", number: "No.", agent: "Agents", byOperator: "as configured",
    agent_: "by the agent", customer_: "by the customer", lost_: "lost", cancelled_: "left the queue", nobody_: "nobody came",
    waitsHint: "How long customers have waited for an agent since the processes started. Latest reports: {heard}. For longer periods, see the metrics.",
    thisProcess: "this process", now: "now", waitsPlot: "Waits by the time at which they ended", waitsBars: "Median wait by queue", median: "Median", longest: "Longest", given: "Given up", count: "Waits", noWaits: "Nobody has waited since the start.",
    linksHint: "Connections to the call centre: all of the answering process, and up to 100 of each other process, those that are down first.", up: "up", opening: "being opened", waiting_: "failed, will be retried",
    since_: "Since", why: "Why", noLinks: "There is no current chat, so no link is open.",
    lookUp: "Look up", eventOrRoom: "Event or room", eventHint: "$… of an event, or !… of a room", time: "Time", what: "What", detail: "Detail", doubled: "(possible double)",
    lane: "Lane", outcome: "Outcome", attempts: "Attempts", under: "under way", nothingKnown: "Nothing found: never seen, or older than retention.rows.",
    nothingLately: "Nothing among the newest entries of all rooms.", further: "Look further back",
    noLetters: "No dead letters.", retry: "Retry", act: "To do", discard: "Discard", retried: "{id} will be retried.", discarded: "{id} was discarded.",
    discardTitle: "Discard {id}?", discardHint: "This cannot be undone.", cancel: "Cancel", content: "Content", erased: "erased, or it may hold a password", fix: "What to do",
    ready: "Ready", notReady: "Not ready", allReached: "Database, homeserver and call centre answer.", version: "Version", replica: "Process",
    replicas: "Processes", shards: "Shards", seen: "Last heartbeat", ago: "{time} ago", serves: "serves", leaving: "is leaving", gone: "gone", oneProcess: "This process is the only one on its database.",
    enterprise: "Call centre", chosenLater: "{now} ({chosen} once the chat or request here has ended)",
    noChanges: "Nothing has been changed.", who: "Who", way: "Way", setting: "What",
    erase: "Erase", eraseHint: "This permanently erases all data of the bridge about a room, or about a person and their rooms. First you see what there is.",
    subject: "Room or person", subjectHint: "!… of a room, or @name:server of a person", noSubject: "{subject} is neither a room (!…) nor a person (@name:server).", eraseRoom: "Erase this room's data…",
    kind: "Kind", there: "Number", where: "Where", stays: "What is kept, and where", wholeRooms: "Rooms that are erased completely", sharedRooms: "Rooms of several people, in which only this person's data is erased",
    nothingHeld: "The bridge has no data about {subject}.", isHeld: "The bridge has this data about {subject}. Nothing has been erased yet.",
    chatGoesOn: "There is a current chat or request in {rooms}: it has to be ended first.", force: "End current chats",
    stay: "Keep serving erased rooms, as new ones", redact: "Also redact the events in the ledger on the homeserver",
    typeAgain: "To confirm, type {subject}", eraseNow: "Erase permanently", erasing: "{subject} is being erased. Stay on this page until it says that it is done.",
    erasedNow: "{subject} is erased.", notYet: "Not all data about {subject} is erased yet. Look it up again, and continue.", before: "Before", left: "Left",
    back: "Back", none: "—",
    command: "command", state_: "state event", console: "console", api: "API", cli: "command line", widget: "room page",
    order: "Give a command", orderHint: "As typed in the room, without the prefix: queue set 2", give: "Give", ordered: "The command is on its way to the room.",
    // The room page.
    openIt: "Open this page in a Matrix client: send “!wc panel” in a room.", asking: "Asking your client who you are…",
    notYours: "Your homeserver does not confirm this sign-in.", noOpenId: "The homeserver could not be asked who you are. The bridge's operator finds the reason in the log.",
    blocked: "You did not allow the page to see who you are. It cannot be used without that.", late: "Your client did not answer.", again: "Try again",
    notHere: "The bridge does not serve this room. Invite its bot first.", moved: "This room has been upgraded: use the page of the new one.",
    notAdmin: "Only room admins can use this page: you have to be a moderator here (power level 50).", unknown: "The homeserver does not say what you may do here. Please try again later.",
    chosenEnterprise: "Call centre; its queues are shown once it is saved", chosenQueue: "Queue of this room", chosenLanguage: "Language", chosenSource: "Where agents see you come from", chosenStart: "An agent is asked for",
    on_message: "at the first message", on_command: "at the command “start”", pausedNow: "This room is paused: messages are not sent to agents.", pause: "Pause", resume: "Resume", paused: "paused",
    servedNow: "This room is served.", saved: "Saved. The bridge says so in the room.", save: "Save",
    texts: "Sentences of this room", textsHint: "Each replaces a sentence of the bridge; empty: the operator's setting. {queue} and {prefix} are filled in.",
    reader: "For readers of", everybody: "all others", greeting: "Greeting", closed_: "Outside opening hours", nobody__: "No agent is online", ended_: "The agent has ended the chat",
    hoursHint: "Mon-Fri 09:00-18:00 Asia/Shanghai", roomHours: "Opening hours of this room; empty: the queue's",
    hoursUnclear: "These hours cannot be read, so the queue's count: please set others.", lastChanges: "Last changes", undo: "Undo the last change",
  },
  zh: {
    consoleTitle: "WebChat 控制台", roomTitle: "本房间的 WebChat", skip: "跳到内容", language: "English",
    theme: "浅色或深色", auto: "跟随系统", light: "浅色", dark: "深色", menu: "页面",
    signIn: "登录", signInHint: "请在网桥所在的机器上运行以下命令；它给出的链接十分钟内有效，只能用一次：",
    signOut: "退出登录", signedInAs: "已登录：{who}", signedOut: "您已退出登录。",
    linkExpired: "链接已过期或无效，请重新获取。", linkUsed: "链接已被使用过，请重新获取。",
    tooMany: "尝试次数过多，请等待一分钟。",
    notOurPage: "打开本页面的地址与配置不符。请运营方将 console.public_url 设为您浏览器中的地址。",
    fresh: "数据已是最新", stale: "没有响应，正在重试…", failed: "操作失败：{reason}", noAnswer: "网桥没有响应，请重试。", loading: "正在加载…",
    live: "实时", waits: "等待时间", links: "连接", deliveries: "投递", dead: "死信", health: "健康状况", changes: "变更记录",
    queues: "队列", queue: "队列", waiting: "排队人数", chatting: "对话中", open: "营业中", closed: "休息中", opensAt: "{time} 开始服务",
    noHours: "未设营业时间", usual: "通常等待", hours: "营业时间", state: "状态", range: "{low} 至 {high}", unknownWait: "尚不清楚",
    Requesting: "正在请求", Queued: "排队中", Chatting: "对话中", Idle: "空闲", Ended: "已结束", nobody: "暂无",
    allQueues: "全部队列", inQueue: "显示", place: "第 {place} 位", since: "自 {time}", agents: "客服：{names}", held: "暂存 {count} 条",
    room: "房间", customer: "客户", chats: "对话", settings: "设置", asked: "请求时间", started: "接入时间", endedAt: "结束时间", how: "结束方式",
    rating: "评价", number: "序号", agent: "客服", byOperator: "按运营方配置",
    agent_: "客服结束", customer_: "客户结束", lost_: "连接丢失", cancelled_: "客户退出排队", nobody_: "无人接入",
    waitsHint: "各进程启动以来客户等待客服的时长，由各进程上报：{heard}。长期数据请看监控指标。",
    thisProcess: "本进程", now: "刚刚", waitsPlot: "各次等待，按结束时间", waitsBars: "各队列等待时间的中位数", median: "中位数", longest: "最长", given: "放弃", count: "次数", noWaits: "启动以来还没有人等待过。",
    linksHint: "与呼叫中心之间的连接：应答的进程列出全部，其他进程各列出状况最差的 100 条。", up: "正常", opening: "正在建立", waiting_: "失败，正在重试",
    since_: "起始时间", why: "原因", noLinks: "目前没有进行中的对话，因此没有连接。",
    lookUp: "查询", eventOrRoom: "事件或房间", eventHint: "以 $ 开头的事件，或以 ! 开头的房间", time: "时间", what: "经过", detail: "详情", doubled: "（可能重复）",
    lane: "方向", outcome: "结果", attempts: "尝试次数", under: "进行中", nothingKnown: "查不到：从未见过，或早于 retention.rows。",
    nothingLately: "所有房间最近的记录中都没有。", further: "继续往前查找",
    noLetters: "没有死信。", retry: "重试", act: "操作", discard: "丢弃", retried: "{id} 已重新排入处理。", discarded: "{id} 已丢弃。",
    discardTitle: "丢弃 {id}？", discardHint: "丢弃后无法找回。", cancel: "取消", content: "内容", erased: "已清除，或可能含有密码", fix: "处理办法",
    ready: "就绪", notReady: "未就绪", allReached: "数据库、主服务器与呼叫中心均有应答。", version: "版本", replica: "进程",
    replicas: "进程", shards: "分片", seen: "最近的活动迹象", ago: "{time}前", serves: "服务中", leaving: "正在退出", gone: "已离开", oneProcess: "这个数据库上只有本进程。",
    enterprise: "呼叫中心", chosenLater: "{now}（当前的对话或请求结束后改为 {chosen}）",
    noChanges: "还没有任何变更。", who: "操作者", way: "途径", setting: "项目",
    erase: "清除数据", eraseHint: "网桥所保存的某个房间、或某个人及其房间的全部数据将被永久清除。会先列出现有的数据。",
    subject: "房间或个人", subjectHint: "以 ! 开头的房间，或 @名称:服务器 形式的个人", noSubject: "{subject} 既不是房间（!…），也不是个人（@名称:服务器）。", eraseRoom: "清除本房间的数据…",
    kind: "种类", there: "数量", where: "所在之处", stays: "会保留的内容及其所在", wholeRooms: "整个清除的房间", sharedRooms: "多人房间，只清除属于此人的部分",
    nothingHeld: "没有保存 {subject} 的任何数据。", isHeld: "以下是 {subject} 的数据，目前尚未清除任何内容。",
    chatGoesOn: "{rooms} 中还有对话或请求正在进行，须先将其结束。", force: "结束正在进行的对话",
    stay: "清空后的房间作为新房间继续服务", redact: "同时在主服务器上撤回投递记录中的事件",
    typeAgain: "如确认清除，请输入 {subject}", eraseNow: "永久清除", erasing: "正在清除 {subject}，完成之前请勿离开本页面。",
    erasedNow: "{subject} 已清除。", notYet: "{subject} 尚未全部清除，请再次查询后继续。", before: "清除前", left: "剩余",
    back: "返回", none: "—",
    command: "命令", state_: "状态事件", console: "控制台", api: "接口", cli: "命令行", widget: "房间页面",
    order: "下达命令", orderHint: "与房间里输入的相同，不带前缀：队列 设为 2", give: "下达", ordered: "命令已送往房间。",
    // 房间页面
    openIt: "本页面应在 Matrix 客户端内打开：请在房间里发送「!wc 面板」。", asking: "正在向您的客户端确认您的身份…",
    notYours: "您的主服务器未能证实这次登录。", noOpenId: "无法向主服务器查询您的身份。网桥的运营方可在日志中查到原因。",
    blocked: "您没有允许本页面获知您的身份，因此无法显示内容。", late: "您的客户端没有应答。", again: "重试",
    notHere: "网桥没有接入这个房间，请先邀请它的机器人账号。", moved: "本房间已升级，请使用新房间的页面。",
    notAdmin: "只有房间管理员可以使用本页面：您须是本房间的协管员（权限等级 50）。", unknown: "主服务器未告知您在此的权限，请稍后再试。",
    chosenEnterprise: "呼叫中心；保存后显示其队列", chosenQueue: "本房间的队列", chosenLanguage: "语言", chosenSource: "客服看到的来源", chosenStart: "何时请求客服",
    on_message: "收到第一条消息时", on_command: "收到「开始」命令时", pausedNow: "本房间已暂停服务：所写内容不会送给客服。", pause: "暂停", resume: "恢复", paused: "已暂停",
    servedNow: "本房间正在服务中。", saved: "已保存，网桥会在房间里提示。", save: "保存",
    texts: "本房间的提示语", textsHint: "每句替换网桥的一句提示语；留空则按运营方的设置。{queue} 与 {prefix} 会自动填入。",
    reader: "用于阅读以下语言的人", everybody: "其他任何语言", greeting: "问候语", closed_: "非营业时间", nobody__: "没有客服在线", ended_: "客服结束对话时",
    hoursHint: "周一至周五 09:00-18:00 Asia/Shanghai", roomHours: "本房间的营业时间；留空则按队列的设置",
    hoursUnclear: "无法理解这里的营业时间，因此不起作用，以队列的营业时间为准；请重新设定。", lastChanges: "最近的变更", undo: "撤销上一次更改",
  },
};

/** What the bridge tells in English: the ledger's words, an erasure's, and refusals. */
const IN_CHINESE = {
  received: "收到", handled: "处理完毕", stored: "存入", attempted: "开始投递", revived: "重新排入处理",
  delivered: "已投递", refused: "被拒绝", failed: "未能投递", uncertain: "不确定是否送达", dead: "已成死信", discarded: "已丢弃",
  queue: "队列", from: "来源", language: "语言", start: "开始方式", paused: "暂停", hours: "营业时间",
  webchat: "往呼叫中心", matrix: "往房间", aside: "另行查询",
  "ledger lines": "投递记录", "of them with content": "其中含有内容的", "dead letters": "死信", chats: "对话", "ids of the bridge's own messages": "网桥所发消息的编号", accounts: "账号", rooms: "房间记录",
  "encryption keys": "加密密钥", "changes in the audit trail (only names are erased)": "变更记录（只抹去姓名）", "other notes": "其他记录",
  "lines in rooms of several people": "多人房间中的投递记录", "rooms of several people whose records name them": "房间记录中提及此人的多人房间",
  "messages, files, times and ratings of chats": "对话的文字、文件、时间与评价", "the call centre, under the rooms' accounts": "呼叫中心，在各房间的账号之下",
  "these are its own records: ask its operator to erase that customer": "那是呼叫中心自己的记录：请其运营方删除该客户",
  "event ids, without content": "仅事件的编号", "the bridge's ledger": "网桥的投递记录",
  "until retention.rows, so that an event that arrives again is not delivered twice": "保留至 retention.rows：重复到来的事件借此识别，不会投递两次",
  "events, membership, profiles, files": "事件、成员身份、个人资料与文件", "the homeserver, and those of the other members": "主服务器，以及其他成员的主服务器",
  "the homeserver keeps them: redact the events, erase the account or purge the room there": "由主服务器保存：请在那里撤回事件、停用账号或清除房间",
  "deleted rows": "数据库中已删除的行", "dead rows and WAL of PostgreSQL, its standbys, backups of either database, logs": "PostgreSQL 的失效行与 WAL、其备用服务器、两种数据库的备份、日志",
  "run VACUUM, and delete old backups and logs; a restored backup contains them again": "请执行 VACUUM，并删除旧的备份与日志；恢复的备份会重新包含这些内容",
  "copies of erased rows": "已清除数据行的副本", "free space of the SQLite file": "SQLite 文件的空闲空间",
  "it is too large to be rewritten while the bridge runs: stop the bridge and run this again": "文件太大，网桥运行时无法重写：请在其停止后再执行一次",
  "user id and name, as a member of the room or as the bridge's inviter": "用户 ID 与名称（作为房间成员或邀请网桥的人）",
  "a member's go when the bridge leaves the room, the inviter's if erased again then":
    "成员的在网桥离开该房间时清除；邀请人的需在那之后再清除一次",
  "The database did not answer; try again in a moment.": "数据库没有响应，请稍后重试。", "The database is unavailable.": "数据库没有响应。",
  "Internal error; see the bridge's log.": "发生了意外错误，详情见网桥的日志。", "The request body is incomplete or invalid.": "请求的内容无法识别。",
  "Only the operator may do this; ask them.": "只有运营方可以这样做，请与其联系。",
  "This request_id was already used for another order: choose a new one.": "该编号已用于另一条命令，请重试。",
  "The bridge does not know this room.": "网桥中没有该房间。",
  "This room has no account; it gets one with its next chat.": "该房间没有账号，下次对话时会获得。",
  "There is no such dead letter; it may have been retried or discarded.": "该死信已不存在：可能已重试或丢弃。",
  "There is no such order, or it is older than retention.rows.": "没有这条指令，或已早于 retention.rows。",
  "This event was never seen, or is older than retention.rows.": "从未见过该事件，或已早于 retention.rows。",
};
/** The same of sentences that name something. */
const PATTERNS_IN_CHINESE = [
  [/^(webchat|matrix|aside), (\d+)x$/, (_, lane, times) => `${IN_CHINESE[lane]}，${times} 次`],
  [/^room (?=!)/, "房间 "],
  [/^(.*) is one of the bridge's own users, not a person$/, "$1 是网桥自己的用户，不代表任何人的数据。"],
  [/^a chat or a request goes on in (.*): set `force` to end it first\.$/, "$1 中仍有对话或请求：请勾选“结束正在进行的对话”。"],
];

const wanted = new URLSearchParams(location.search).get("lang") ?? "";
let language = "";

function chosen(tags) {
  for (const tag of tags) {
    const name = tag.slice(0, 2).toLowerCase();
    if (name in WORDS) return name;
  }
  return "en";
}

/** Speak the language that was chosen before, else the client's, else the browser's. */
export function speak(next) {
  language = next ?? kept("webchat-language") ?? chosen([wanted, ...navigator.languages]);
  if (!(language in WORDS)) language = "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
}

export function switchLanguage() {
  speak(kept("webchat-language", language === "en" ? "zh" : "en"));
}

/** A sentence by its key, `{names}` filled in; the key itself if there is none. */
export function word(key, values = {}) {
  const text = WORDS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const known = (key) => key in WORDS.en;

/** What the bridge tells in English, in the page's language if that is known here. */
export function said(text) {
  if (language !== "zh") return text;
  return IN_CHINESE[text] ?? PATTERNS_IN_CHINESE.reduce((told, [english, chinese]) => told.replace(english, chinese), text);
}

/** For a test: that both languages have the same keys. */
export const KEYS = Object.fromEntries(Object.entries(WORDS).map(([name, all]) => [name, Object.keys(all)]));

/** As the browser's user writes times, if that is in the page's language. */
const locale = () => navigator.languages.find((tag) => tag.startsWith(language)) ?? document.documentElement.lang;

/** A moment (ms): the time, with the day if it is not today's; without `seconds` to the minute. */
export function moment(ms, { seconds = true } = {}) {
  if (ms === null || ms === undefined) return word("none");
  const at = new Date(ms);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString(locale(), {
    hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, ...(today ? {} : { month: "2-digit", day: "2-digit" }),
  });
}

/** Hours and minutes, for an axis; with `seconds` these, too. */
export const clock = (ms, seconds = false) =>
  new Date(ms).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });

/** A duration in seconds, in one or two units. */
export function duration(seconds) {
  const [zh, whole] = [language === "zh", Math.max(0, Math.round(seconds))];
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const part = (value, en, cn) => (value ? [`${value}${zh ? cn : ` ${en}`}`] : []);
  const parts = h ? [...part(h, "h", "小时"), ...part(m, "min", "分")] : [...part(m, "min", "分"), ...part(s, "s", "秒")];
  return parts.join(zh ? "" : " ") || (zh ? "0秒" : "0 s");
}
