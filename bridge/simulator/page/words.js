// Everything the desk says, in English and Chinese.

const WORDS = {
  en: {
    title: "Agent desk", skip: "To the message field", language: "中文", customers: "Customers",
    waiting: "Waiting", mine: "My chats", others: "Other chats",
    ended: "Ended", nobody: "No customer is chosen.",
    nobodyHint: "Customers who ask for an agent appear on the left. Alt+A accepts the customer who has waited longest; ? shows all keys.",
    write: "Message", send: "Send", back: "Back to the list", theme: "Light or dark",
    themeauto: "as the system", themelight: "light", themedark: "dark", help: "Keys",
    up: "connected", down: "not connected, trying again…",
    whoAreYou: "Who are you?",
    whoHint: "Each tab can be another agent. Choose one who is online, or come online as a new one.",
    newAgent: "A new agent", agentId: "Id (such as A00003)", agentName: "Name", comeOnline: "Come online",
    goOffline: "Go offline", changeAgent: "Change agent", iAm: "You are {name}",
    accept: "Accept", refuse: "Refuse", queue: "queue {name}", place: "place {place}",
    chats: "{count} chats", robot: "with the robot", offline: "connection lost",
    refuseTitle: "Why is {name} turned away?",
    status2: "Refused", status3: "Waited too long", status4: "Lost", status5: "No agent online",
    status6: "Outside working hours", status7: "Cancelled by the customer",
    rate: "Ask for rating", transfer: "Transfer", invite: "Conference", leave: "Leave", close: "End chat",
    join: "Join this chat", transferTitle: "Hand the chat of {name} to", inviteTitle: "Bring into the chat of {name}",
    queueField: "New queue number (may stay empty)", noOther: "Nobody else is online.",
    closeTitle: "End the chat with {name}?", closeHint: "The customer can still rate it.",
    cancel: "Cancel", done: "Close",
    emoji: "Emoji", image: "Picture", file: "File", voice: "Voice", location: "Location",
    asCodes: "Insert as WeChat code", tools: "Send something", actions: "This chat",
    recordTitle: "Send a voice message", record: "Record", stop: "Stop and send", chooseFile: "Choose a file",
    sample: "Send a sample", noMicrophone: "No microphone can be used here ({reason}). A file or a sample can be sent.",
    recording: "Recording… {seconds} s", locationTitle: "Send a location", latitude: "Latitude",
    longitude: "Longitude", placeName: "Name of the place", map: "Coordinates of", sendLocation: "Send location",
    typing: "{name} is typing…", writes: "{name} writes: ",
    repeatMark: "sent again", open: "open", picture: "picture {name}", played: "voice, {seconds} s",
    place_: "location",
    e_waiting: "asks for an agent", e_accepted: "{agent} accepted", e_robot: "the robot answers",
    e_turned_away: "left the queue: {reason}", e_joined: "{agent} joined", e_left: "{agent} left",
    e_recalled: "{agent} took back a message",
    e_rating_pushed: "{agent} asked for a rating", e_rated: "Rating: {label}",
    e_closed_agent: "{agent} ended the chat", e_closed_customer: "the customer ended the chat",
    e_closed_grace: "the chat ended: the customer was away too long", e_closed_forgotten: "the server lost the chat",
    closedHours: "closed",
    keysTitle: "Keys", keysHint: "In the message field Enter sends and Shift+Enter begins a new line; pictures can be pasted and files dropped.",
    k_accept: "accept the customer who has waited longest", k_refuse: "refuse that customer",
    k_next: "next or previous customer", k_write: "to the message field", k_emoji: "emoji",
    k_image: "picture", k_file: "file", k_voice: "voice", k_location: "location", k_rate: "ask for rating",
    k_transfer: "transfer", k_invite: "conference", k_close: "end the chat", k_help: "this list",
    k_escape: "close a dialog", failed: "That did not work: {reason}", tooLarge: "{name} is larger than {limit} MB.",
    undelivered: "The customer's connection is down: what you send may not arrive.",
  },
  zh: {
    title: "坐席台", skip: "跳到输入框", language: "English", customers: "客户",
    waiting: "排队中", mine: "我的会话", others: "其他会话", ended: "已结束", nobody: "尚未选择客户。",
    nobodyHint: "请求人工服务的客户显示在左侧。Alt+A 接入等待最久的客户；按 ? 查看全部快捷键。",
    write: "消息", send: "发送", back: "返回列表", theme: "浅色或深色",
    themeauto: "跟随系统", themelight: "浅色", themedark: "深色", help: "快捷键",
    up: "已连接", down: "连接中断，正在重试…",
    whoAreYou: "您是哪位坐席？", whoHint: "每个标签页可以是不同的坐席。请选择在线坐席，或以新坐席上线。",
    newAgent: "新坐席", agentId: "工号（如 A00003）", agentName: "姓名", comeOnline: "上线",
    goOffline: "下线", changeAgent: "切换坐席", iAm: "您是 {name}",
    accept: "接入", refuse: "拒绝", queue: "{name} 队列", place: "第 {place} 位",
    chats: "{count} 个会话", robot: "机器人接待中", offline: "连接中断",
    refuseTitle: "为什么不接待 {name}？",
    status2: "拒绝", status3: "排队超时", status4: "异常丢失", status5: "无坐席在线",
    status6: "非工作时间", status7: "客户取消",
    rate: "邀请评价", transfer: "转接", invite: "会议", leave: "退出", close: "结束会话",
    join: "加入会话", transferTitle: "将 {name} 的会话转接给", inviteTitle: "邀请加入 {name} 的会话",
    queueField: "新的队列号（可不填）", noOther: "没有其他坐席在线。",
    closeTitle: "结束与 {name} 的会话？", closeHint: "客户之后仍可评价。",
    cancel: "取消", done: "关闭",
    emoji: "表情", image: "图片", file: "文件", voice: "语音", location: "位置",
    asCodes: "以微信表情代码插入", tools: "发送内容", actions: "会话操作",
    recordTitle: "发送语音", record: "录音", stop: "停止并发送", chooseFile: "选择文件",
    sample: "发送示例", noMicrophone: "无法使用麦克风（{reason}）。可以发送文件或示例。",
    recording: "录音中… {seconds} 秒", locationTitle: "发送位置", latitude: "纬度",
    longitude: "经度", placeName: "地点名称", map: "坐标系", sendLocation: "发送位置",
    typing: "{name} 正在输入…", writes: "{name} 正在输入：",
    repeatMark: "重复发送", open: "打开", picture: "图片 {name}", played: "语音，{seconds} 秒",
    place_: "位置",
    e_waiting: "请求人工服务", e_accepted: "{agent} 已接入", e_robot: "机器人接待",
    e_turned_away: "离开队列：{reason}", e_joined: "{agent} 加入", e_left: "{agent} 离开",
    e_recalled: "{agent} 撤回了一条消息",
    e_rating_pushed: "{agent} 邀请评价", e_rated: "评价：{label}",
    e_closed_agent: "{agent} 结束了会话", e_closed_customer: "客户结束了会话",
    e_closed_grace: "会话结束：客户离线过久", e_closed_forgotten: "服务器丢失了会话",
    closedHours: "非工作时间",
    keysTitle: "快捷键", keysHint: "在输入框中按 Enter 发送，Shift+Enter 换行；可以粘贴图片、拖入文件。",
    k_accept: "接入等待最久的客户", k_refuse: "拒绝等待最久的客户", k_next: "下一位或上一位客户",
    k_write: "到输入框", k_emoji: "表情", k_image: "图片", k_file: "文件", k_voice: "语音",
    k_location: "位置", k_rate: "邀请评价", k_transfer: "转接", k_invite: "会议",
    k_close: "结束会话", k_help: "本列表", k_escape: "关闭对话框",
    failed: "操作失败：{reason}", tooLarge: "{name} 超过 {limit} MB。",
    undelivered: "客户的连接已中断：您发送的内容可能无法送达。",
  },
};

let language = localStorage.getItem("desk-language")
  ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

export const current = () => language;

/** A sentence with its `{holes}` filled. */
export function word(key, holes = {}) {
  const sentence = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (_, hole) => holes[hole] ?? "");
}

/** Say everything in the other language from now on. */
export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  localStorage.setItem("desk-language", language);
  speak();
}

/** Put the words of the present language into the page's fixed parts. */
export function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = word("title");
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
}

/** Seconds as minutes and seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const rest = [Math.floor((whole % 3600) / 60), whole % 60];
  const parts = hours ? [hours, ...rest] : rest;
  return parts.map((part, index) => (index ? String(part).padStart(2, "0") : part)).join(":");
}

export function timeOfDay(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString(document.documentElement.lang, {
    hour: "2-digit", minute: "2-digit", hourCycle: "h23",
  });
}

export function sizeOf(bytes) {
  if (bytes === undefined || bytes === null) return "";
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** The keys that a language has words for. */
export const known = (one) => Object.keys(WORDS[one]).sort();
