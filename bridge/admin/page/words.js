// Everything that the console and the room page say, in English and in both scripts of Chinese.

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
    lookUp: "Look up", eventOrRoom: "Event or room", eventHint: "$… or !…", time: "Time", what: "What", detail: "Detail", doubled: "(possible double)",
    lane: "Lane", outcome: "Outcome", attempts: "Attempts", under: "under way", nothingKnown: "Nothing found: never seen, or older than retention.rows.",
    nothingLately: "Nothing among the newest entries of all rooms.", further: "Look further back",
    noLetters: "No dead letters.", retry: "Retry", act: "To do", discard: "Discard", retried: "{id} will be retried.", discarded: "{id} was discarded.",
    discardTitle: "Discard {id}?", discardHint: "This cannot be undone.", cancel: "Cancel", content: "Content", erased: "erased, or it may hold a password", fix: "What to do",
    ready: "Ready", notReady: "Not ready", allReached: "Database, homeserver and call centre answer.", version: "Version", replica: "Process",
    replicas: "Processes", shards: "Shards", seen: "Last heartbeat", ago: "{time} ago", serves: "serves", leaving: "is leaving", gone: "gone", oneProcess: "This process is the only one on its database.",
    enterprise: "Call centre", chosenLater: "{now} ({chosen} once the chat or request here has ended)",
    noChanges: "Nothing has been changed.", who: "Who", way: "Way", setting: "What",
    erase: "Erase", eraseHint: "This permanently erases all data of the bridge about a room, or about a person and their rooms. First you see what there is.",
    subject: "Room or person", subjectHint: "!… or @name:server", noSubject: "{subject} is neither a room (!…) nor a person (@name:server).", eraseRoom: "Erase this room's data…",
    kind: "Kind", there: "Number", where: "Where", stays: "What is kept, and where", wholeRooms: "Rooms that are erased completely", sharedRooms: "Rooms of several people, in which only this person's data is erased",
    nothingHeld: "The bridge has no data about {subject}.", isHeld: "The bridge has this data about {subject}. Nothing has been erased yet.",
    chatGoesOn: "There is a current chat or request in {rooms}: it has to be ended first.", force: "End current chats",
    stay: "Keep serving erased rooms, as new ones", redact: "Also redact the events in the ledger on the homeserver",
    typeAgain: "To confirm, type {subject}", eraseNow: "Erase permanently", erasing: "{subject} is being erased. Stay on this page until it says that it is done.",
    erasedNow: "{subject} is erased.", notYet: "Not all data about {subject} is erased yet. Look it up again, and continue.", before: "Before", left: "Left",
    back: "Back", none: "—", named: "{name}: {value}", hours_: " h", minutes_: " min", seconds_: " s",
    command: "command", state_: "state event", console: "console", api: "API", cli: "command line", widget: "room page",
    order: "Give a command", orderHint: "queue set 2 (no prefix)", give: "Give", ordered: "The command is on its way to the room.",
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
  "zh-CN": {
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
    lookUp: "查询", eventOrRoom: "事件或房间", eventHint: "$… 或 !…", time: "时间", what: "经过", detail: "详情", doubled: "（可能重复）",
    lane: "方向", outcome: "结果", attempts: "尝试次数", under: "进行中", nothingKnown: "查不到：从未见过，或早于 retention.rows。",
    nothingLately: "所有房间最近的记录中都没有。", further: "继续往前查找",
    noLetters: "没有死信。", retry: "重试", act: "操作", discard: "丢弃", retried: "{id} 已重新排入处理。", discarded: "{id} 已丢弃。",
    discardTitle: "丢弃 {id}？", discardHint: "丢弃后无法找回。", cancel: "取消", content: "内容", erased: "已清除，或可能含有密码", fix: "处理办法",
    ready: "就绪", notReady: "未就绪", allReached: "数据库、主服务器与呼叫中心均有应答。", version: "版本", replica: "进程",
    replicas: "进程", shards: "分片", seen: "最近的活动迹象", ago: "{time}前", serves: "服务中", leaving: "正在退出", gone: "已离开", oneProcess: "这个数据库上只有本进程。",
    enterprise: "呼叫中心", chosenLater: "{now}（当前的对话或请求结束后改为 {chosen}）",
    noChanges: "还没有任何变更。", who: "操作者", way: "途径", setting: "项目",
    erase: "清除数据", eraseHint: "网桥所保存的某个房间、或某个人及其房间的全部数据将被永久清除。会先列出现有的数据。",
    subject: "房间或个人", subjectHint: "!… 或 @名称:服务器", noSubject: "{subject} 既不是房间（!…），也不是个人（@名称:服务器）。", eraseRoom: "清除本房间的数据…",
    kind: "种类", there: "数量", where: "所在之处", stays: "会保留的内容及其所在", wholeRooms: "整个清除的房间", sharedRooms: "多人房间，只清除属于此人的部分",
    nothingHeld: "没有保存 {subject} 的任何数据。", isHeld: "以下是 {subject} 的数据，目前尚未清除任何内容。",
    chatGoesOn: "{rooms} 中还有对话或请求正在进行，须先将其结束。", force: "结束正在进行的对话",
    stay: "清空后的房间作为新房间继续服务", redact: "同时在主服务器上撤回投递记录中的事件",
    typeAgain: "如确认清除，请输入 {subject}", eraseNow: "永久清除", erasing: "正在清除 {subject}，完成之前请勿离开本页面。",
    erasedNow: "{subject} 已清除。", notYet: "{subject} 尚未全部清除，请再次查询后继续。", before: "清除前", left: "剩余",
    back: "返回", none: "—", named: "{name}：{value}", hours_: "小时", minutes_: "分", seconds_: "秒",
    command: "命令", state_: "状态事件", console: "控制台", api: "接口", cli: "命令行", widget: "房间页面",
    order: "下达命令", orderHint: "队列 设为 2（不带前缀）", give: "下达", ordered: "命令已送往房间。",
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
  "zh-TW": {
    consoleTitle: "WebChat 主控台", roomTitle: "這個聊天室的 WebChat", skip: "跳到內容", language: "English",
    theme: "淺色或深色", auto: "跟隨系統", light: "淺色", dark: "深色", menu: "頁面",
    signIn: "登入", signInHint: "請在執行橋接服務的機器上執行以下指令；它給出的連結十分鐘內有效，只能使用一次：",
    signOut: "登出", signedInAs: "已登入：{who}", signedOut: "您已登出。",
    linkExpired: "連結已過期或無效，請重新取得。", linkUsed: "連結已經使用過，請重新取得。",
    tooMany: "嘗試次數過多，請等候一分鐘。",
    notOurPage: "開啟本頁面的網址與設定不符。請營運方將 console.public_url 設為您瀏覽器中的網址。",
    fresh: "資料已是最新", stale: "沒有回應，正在重試…", failed: "操作失敗：{reason}", noAnswer: "橋接服務沒有回應，請重試。", loading: "正在載入…",
    live: "即時", waits: "等候時間", links: "連線", deliveries: "投遞", dead: "死信", health: "健康狀況", changes: "變更紀錄",
    queues: "佇列", queue: "佇列", waiting: "排隊人數", chatting: "對話中", open: "營業中", closed: "休息中", opensAt: "{time} 開始服務",
    noHours: "未設定營業時間", usual: "通常等候", hours: "營業時間", state: "狀態", range: "{low} 至 {high}", unknownWait: "尚不清楚",
    Requesting: "正在請求", Queued: "排隊中", Chatting: "對話中", Idle: "閒置", Ended: "已結束", nobody: "目前沒有",
    allQueues: "全部佇列", inQueue: "顯示", place: "第 {place} 位", since: "自 {time}", agents: "客服：{names}", held: "暫存 {count} 則",
    room: "聊天室", customer: "客戶", chats: "對話", settings: "設定", asked: "請求時間", started: "接通時間", endedAt: "結束時間", how: "結束方式",
    rating: "評分", number: "編號", agent: "客服", byOperator: "依營運方設定",
    agent_: "客服結束", customer_: "客戶結束", lost_: "連線中斷", cancelled_: "客戶退出排隊", nobody_: "沒有客服回應",
    waitsHint: "各處理程序啟動以來客戶等候客服的時間，由各處理程序回報：{heard}。長期資料請看監控指標。",
    thisProcess: "本處理程序", now: "剛剛", waitsPlot: "各次等候，依結束時間", waitsBars: "各佇列等候時間的中位數", median: "中位數", longest: "最長", given: "放棄", count: "次數", noWaits: "啟動以來還沒有人等候過。",
    linksHint: "與客服中心之間的連線：回應的處理程序列出全部，其他處理程序各列出狀況最差的 100 條。", up: "正常", opening: "正在建立", waiting_: "失敗，正在重試",
    since_: "起始時間", why: "原因", noLinks: "目前沒有進行中的對話，因此沒有連線。",
    lookUp: "查詢", eventOrRoom: "事件或聊天室", eventHint: "$… 或 !…", time: "時間", what: "經過", detail: "詳情", doubled: "（可能重複）",
    lane: "方向", outcome: "結果", attempts: "嘗試次數", under: "進行中", nothingKnown: "查無資料：從未見過，或早於 retention.rows。",
    nothingLately: "所有聊天室最近的紀錄中都沒有。", further: "繼續往前查詢",
    noLetters: "沒有死信。", retry: "重試", act: "操作", discard: "捨棄", retried: "{id} 已重新排入處理。", discarded: "{id} 已捨棄。",
    discardTitle: "捨棄 {id}？", discardHint: "捨棄後無法復原。", cancel: "取消", content: "內容", erased: "已清除，或可能含有密碼", fix: "處理方式",
    ready: "就緒", notReady: "未就緒", allReached: "資料庫、家伺服器與客服中心均有回應。", version: "版本", replica: "處理程序",
    replicas: "處理程序", shards: "分片", seen: "最近的活動跡象", ago: "{time}前", serves: "服務中", leaving: "正在退出", gone: "已離開", oneProcess: "這個資料庫上只有本處理程序。",
    enterprise: "客服中心", chosenLater: "{now}（目前的對話或請求結束後改為 {chosen}）",
    noChanges: "還沒有任何變更。", who: "操作者", way: "途徑", setting: "項目",
    erase: "清除資料", eraseHint: "橋接服務所保存的某個聊天室、或某個人及其聊天室的全部資料將永久清除。會先列出現有的資料。",
    subject: "聊天室或個人", subjectHint: "!… 或 @名稱:伺服器", noSubject: "{subject} 既不是聊天室（!…），也不是個人（@名稱:伺服器）。", eraseRoom: "清除這個聊天室的資料…",
    kind: "種類", there: "數量", where: "所在之處", stays: "會保留的內容及其所在", wholeRooms: "整個清除的聊天室", sharedRooms: "多人聊天室，只清除屬於此人的部分",
    nothingHeld: "沒有保存 {subject} 的任何資料。", isHeld: "以下是 {subject} 的資料，目前尚未清除任何內容。",
    chatGoesOn: "{rooms} 中還有對話或請求正在進行，須先將其結束。", force: "結束正在進行的對話",
    stay: "清空後的聊天室作為新聊天室繼續服務", redact: "同時在家伺服器上移除投遞紀錄中的事件",
    typeAgain: "如確認清除，請輸入 {subject}", eraseNow: "永久清除", erasing: "正在清除 {subject}，完成之前請勿離開本頁面。",
    erasedNow: "{subject} 已清除。", notYet: "{subject} 尚未全部清除，請再次查詢後繼續。", before: "清除前", left: "剩餘",
    back: "返回", none: "—", named: "{name}：{value}", hours_: "小時", minutes_: "分", seconds_: "秒",
    command: "指令", state_: "狀態事件", console: "主控台", api: "API 介面", cli: "終端機", widget: "聊天室頁面",
    order: "下達指令", orderHint: "佇列 設為 2（不帶前綴）", give: "下達", ordered: "指令已送往聊天室。",
    // 聊天室頁面
    openIt: "本頁面應在 Matrix 應用程式內開啟：請在聊天室裡傳送「!wc 面板」。", asking: "正在向您的應用程式確認您的身分…",
    notYours: "您的家伺服器未能證實這次登入。", noOpenId: "無法向家伺服器查詢您的身分。橋接服務的營運方可在記錄檔中查到原因。",
    blocked: "您沒有允許本頁面得知您的身分，因此無法顯示內容。", late: "您的應用程式沒有回應。", again: "重試",
    notHere: "橋接服務沒有連接這個聊天室，請先邀請它的機器人帳號。", moved: "這個聊天室已升級，請使用新聊天室的頁面。",
    notAdmin: "只有聊天室管理員可以使用本頁面：您須是這個聊天室的版主（權限等級 50）。", unknown: "家伺服器未告知您在此的權限，請稍後再試。",
    chosenEnterprise: "客服中心；儲存後顯示其佇列", chosenQueue: "這個聊天室的佇列", chosenLanguage: "語言", chosenSource: "客服看到的來源", chosenStart: "何時請求客服",
    on_message: "收到第一則訊息時", on_command: "收到「開始」指令時", pausedNow: "這個聊天室已暫停服務：所寫內容不會送給客服。", pause: "暫停", resume: "恢復", paused: "已暫停",
    servedNow: "這個聊天室正在服務中。", saved: "已儲存，橋接服務會在聊天室裡告知。", save: "儲存",
    texts: "這個聊天室的提示語", textsHint: "每句取代橋接服務的一句提示語；留空則依營運方的設定。{queue} 與 {prefix} 會自動填入。",
    reader: "用於閱讀以下語言的人", everybody: "其他任何語言", greeting: "問候語", closed_: "非服務時間", nobody__: "沒有客服在線上", ended_: "客服結束對話時",
    hoursHint: "週一至週五 09:00-18:00 Asia/Taipei", roomHours: "這個聊天室的營業時間；留空則依佇列的設定",
    hoursUnclear: "這裡的營業時間無法解讀，因此不起作用，以佇列的營業時間為準；請重新設定。", lastChanges: "最近的變更", undo: "復原上一次變更",
  },
};

/** What the bridge tells in English: the ledger's words, an erasure's, and refusals. */
const IN_CHINESE = {
  "zh-CN": {
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
  },
  "zh-TW": {
    received: "收到", handled: "處理完畢", stored: "存入", attempted: "開始投遞", revived: "重新排入處理",
    delivered: "已投遞", refused: "遭拒絕", failed: "未能投遞", uncertain: "不確定是否送達", dead: "已成死信", discarded: "已捨棄",
    queue: "佇列", from: "來源", language: "語言", start: "開始方式", paused: "暫停", hours: "營業時間",
    webchat: "往客服中心", matrix: "往聊天室", aside: "另行查詢",
    "ledger lines": "投遞紀錄", "of them with content": "其中含有內容的", "dead letters": "死信", chats: "對話", "ids of the bridge's own messages": "橋接服務所發訊息的編號", accounts: "帳號", rooms: "聊天室紀錄",
    "encryption keys": "加密金鑰", "changes in the audit trail (only names are erased)": "變更紀錄（只抹除姓名）", "other notes": "其他紀錄",
    "lines in rooms of several people": "多人聊天室中的投遞紀錄", "rooms of several people whose records name them": "紀錄中提及此人的多人聊天室",
    "messages, files, times and ratings of chats": "對話的文字、檔案、時間與評分", "the call centre, under the rooms' accounts": "客服中心，在各聊天室的帳號之下",
    "these are its own records: ask its operator to erase that customer": "那是客服中心自己的紀錄：請其營運方刪除該客戶",
    "event ids, without content": "僅事件的編號", "the bridge's ledger": "橋接服務的投遞紀錄",
    "until retention.rows, so that an event that arrives again is not delivered twice": "保留至 retention.rows：重複到來的事件藉此辨識，不會投遞兩次",
    "events, membership, profiles, files": "事件、成員身分、個人檔案與檔案", "the homeserver, and those of the other members": "家伺服器，以及其他成員的家伺服器",
    "the homeserver keeps them: redact the events, erase the account or purge the room there": "由家伺服器保存：請在那裡移除事件、停用帳號或清除聊天室",
    "deleted rows": "資料庫中已刪除的資料列", "dead rows and WAL of PostgreSQL, its standbys, backups of either database, logs": "PostgreSQL 的失效資料列與 WAL、其備援伺服器、兩種資料庫的備份、記錄檔",
    "run VACUUM, and delete old backups and logs; a restored backup contains them again": "請執行 VACUUM，並刪除舊的備份與記錄檔；還原的備份會重新包含這些內容",
    "copies of erased rows": "已清除資料列的副本", "free space of the SQLite file": "SQLite 檔案的可用空間",
    "it is too large to be rewritten while the bridge runs: stop the bridge and run this again": "檔案太大，橋接服務執行時無法重寫：請在其停止後再執行一次",
    "user id and name, as a member of the room or as the bridge's inviter": "使用者 ID 與名稱（作為聊天室成員或邀請橋接服務的人）",
    "a member's go when the bridge leaves the room, the inviter's if erased again then":
      "成員的在橋接服務離開該聊天室時清除；邀請人的需在那之後再清除一次",
    "The database did not answer; try again in a moment.": "資料庫沒有回應，請稍後重試。", "The database is unavailable.": "資料庫沒有回應。",
    "Internal error; see the bridge's log.": "發生了意外錯誤，詳情見橋接服務的記錄檔。", "The request body is incomplete or invalid.": "請求的內容無法辨識。",
    "Only the operator may do this; ask them.": "只有營運方可以這樣做，請與其聯絡。",
    "This request_id was already used for another order: choose a new one.": "該編號已用於另一個指令，請重試。",
    "The bridge does not know this room.": "橋接服務中沒有該聊天室。",
    "This room has no account; it gets one with its next chat.": "該聊天室沒有帳號，下次對話時會取得。",
    "There is no such dead letter; it may have been retried or discarded.": "該死信已不存在：可能已重試或捨棄。",
    "There is no such order, or it is older than retention.rows.": "沒有這個指令，或已早於 retention.rows。",
    "This event was never seen, or is older than retention.rows.": "從未見過該事件，或已早於 retention.rows。",
  },
};
/** The same of sentences that name something. */
const PATTERNS_IN_CHINESE = {
  "zh-CN": [
    [/^(webchat|matrix|aside), (\d+)x$/, (_, lane, times) => `${said(lane)}，${times} 次`],
    [/^room (?=!)/, "房间 "],
    [/^(.*) is one of the bridge's own users, not a person$/, "$1 是网桥自己的用户，不代表任何人的数据。"],
    [/^a chat or a request goes on in (.*): set `force` to end it first\.$/, "$1 中仍有对话或请求：请勾选“结束正在进行的对话”。"],
  ],
  "zh-TW": [
    [/^(webchat|matrix|aside), (\d+)x$/, (_, lane, times) => `${said(lane)}，${times} 次`],
    [/^room (?=!)/, "聊天室 "],
    [/^(.*) is one of the bridge's own users, not a person$/, "$1 是橋接服務自己的使用者，不代表任何人的資料。"],
    [/^a chat or a request goes on in (.*): set `force` to end it first\.$/, "$1 中仍有對話或請求：請勾選「結束正在進行的對話」。"],
  ],
};

const asked = [new URLSearchParams(location.search).get("lang") ?? "", ...navigator.languages];
let language = "en";

/** The language of ours that a tag names ("zh-Hant-HK" is "zh-TW"); undefined for others. */
function named(tag) {
  if (/^zh\b/i.test(tag)) return /[-_](hant|tw|hk|mo)\b/i.test(tag) ? "zh-TW" : "zh-CN";
  return /^en\b/i.test(tag) ? "en" : undefined;
}

/** The first language of the client, then of the browser, that is one of `among`. */
const first = (...among) => asked.map(named).find((name) => among.includes(name));

/** Speak the language that was chosen before, else the client's, else the browser's. */
export function speak() {
  const [before, chinese] = [kept("webchat-language"), first("zh-CN", "zh-TW") ?? "zh-CN"];
  language = { zh: chinese, en: "en" }[before] ?? first(...Object.keys(WORDS)) ?? "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
}

export function switchLanguage() {
  kept("webchat-language", language === "en" ? "zh" : "en");
  speak();
}

/** A sentence by its key, `{names}` filled in; the key itself if there is none. */
export function word(key, values = {}) {
  const text = WORDS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const known = (key) => key in WORDS.en;

/** What the bridge tells in English, in the page's language if that is known here. */
export function said(text) {
  if (language === "en") return text;
  return IN_CHINESE[language][text] ?? PATTERNS_IN_CHINESE[language].reduce((told, [english, chinese]) => told.replace(english, chinese), text);
}

/** For a test: that all languages have the same keys. */
export const TABLES = [WORDS, IN_CHINESE];

/** As the browser's user writes times, if that is in the page's language. */
const locale = () => navigator.languages.find((tag) => named(tag) === language) ?? language;

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
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const part = (value, unit) => (value ? [`${value}${word(unit)}`] : []);
  const parts = h ? [...part(h, "hours_"), ...part(m, "minutes_")] : [...part(m, "minutes_"), ...part(s, "seconds_")];
  return parts.join(language === "en" ? " " : "") || `0${word("seconds_")}`;
}
