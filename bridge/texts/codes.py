"""A sentence for every result code and request status of WebChat (reference 2.3 and 2.5).

Each says what happened and, where the customer can do something, what. The numbers themselves are
for operators (logs, `trace`); a customer sees one only where nobody knows what it means.
"""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    # --- wire `result` ---
    "result.1": {
        "zh-CN": "已完成。",
        "en": "Done.",
    },
    "result.0": {
        "zh-CN": "客服系统未能处理这次请求，请稍后再试。",
        "en": "The call centre could not do this. Please try again later.",
    },
    "result.-1": {
        "zh-CN": "您已在排队中，无需重复申请，请耐心等候。",
        "en": "You are already in the queue; there is no need to ask again.",
    },
    "result.-2": {
        "zh-CN": "您已在与客服对话中，直接发送消息即可。",
        "en": "You are already in a chat; just write your message.",
    },
    "result.-3": {
        "zh-CN": "现在是非工作时间，请在工作时间再联系我们。",
        "en": "We are closed right now. Please come back during opening hours.",
    },
    "result.-4": {
        "zh-CN": "该技能组不可用，请换一个队列或联系管理员。",
        "en": "This skill group is not available. Please choose another queue or tell an"
        " administrator.",
    },
    "result.-5": {
        "zh-CN": "目前没有客服在线，请稍后再发消息。",
        "en": "No agent is online at the moment. Please write again later.",
    },
    "result.-6": {
        "zh-CN": "客服系统不认识此账号，请联系管理员。",
        "en": "The call centre does not know this account. Please tell an administrator.",
    },
    "result.-7": {
        "zh-CN": "该队列不存在，请换一个队列或联系管理员。",
        "en": "This queue does not exist. Please choose another one or tell an administrator.",
    },
    "result.-8": {
        "zh-CN": "客服系统无法识别这次请求，请联系管理员。",
        "en": "The call centre did not understand this request. Please tell an administrator.",
    },
    "result.-9": {
        "zh-CN": "指定的客服不存在或不在线，请改为联系其他客服。",
        "en": "The agent you asked for is unknown or not online. Please ask for any agent.",
    },
    "result.-10": {
        "zh-CN": "您的排队已失效，再发一条消息即可重新排队。",
        "en": "Your place in the queue is gone. Write again to get a new one.",
    },
    "result.-11": {
        "zh-CN": "该对话已结束，再发一条消息即可开始新的对话。",
        "en": "This chat has ended. Write again to start a new one.",
    },
    "result.-12": {
        "zh-CN": "客服系统不支持此类消息，请改用文字或文件。",
        "en": "The call centre does not take this kind of message. Please send text or a file.",
    },
    "result.-13": {
        "zh-CN": "文件上传失败，请重新发送。",
        "en": "The file could not be uploaded. Please send it again.",
    },
    "result.-14": {
        "zh-CN": "客服系统拒绝了这次请求的内容，请换一种方式重试或联系管理员。",
        "en": "The call centre refused part of this request. Please try it another way or tell an"
        " administrator.",
    },
    "result.-15": {
        "zh-CN": "与客服系统的登录已失效，请重新发送。",
        "en": "The login to the call centre has expired. Please send it again.",
    },
    "result.-16": {
        "zh-CN": "客服系统不接受此类文件，请换一种格式发送。",
        "en": "The call centre does not take files of this type. Please send another format.",
    },
    "result.-17": {
        "zh-CN": "空白消息无法发送，请输入内容。",
        "en": "An empty message cannot be sent. Please write something.",
    },
    "result.-18": {
        "zh-CN": "您有另一种类型的对话尚未结束，请先结束它。",
        "en": "You have a chat of another kind open. Please end that one first.",
    },
    "result.-19": {
        "zh-CN": "客服系统不支持这项操作。",
        "en": "The call centre does not support this.",
    },
    "result.-20": {
        "zh-CN": "客服系统的账号或密码有误，请联系管理员。",
        "en": "The account name or password for the call centre is wrong. Please tell an"
        " administrator.",
    },
    "result.-21": {
        "zh-CN": "文件过大，客服系统无法接收，请发送较小的文件。",
        "en": "The file is too large for the call centre. Please send a smaller one.",
    },
    "result.-22": {
        "zh-CN": "图片上传失败，请重新发送，或改为以文件形式发送。",
        "en": "The image could not be uploaded. Please send it again, or as a file.",
    },
    "result.-23": {
        "zh-CN": "语音上传失败，请重新发送，或改用文字。",
        "en": "The voice message could not be uploaded. Please send it again, or write instead.",
    },
    "result.-30": {
        "zh-CN": "与客服系统的签名校验未通过，请联系管理员。",
        "en": "The call centre rejected our signature. Please tell an administrator.",
    },
    "result.-100": {
        "zh-CN": "客服系统内部出错，请稍后再试。",
        "en": "The call centre has an internal error. Please try again later.",
    },
    "result.other": {
        "zh-CN": "客服系统返回了未知代码 {code}，请稍后再试；若仍不行，请将此代码告知管理员。",
        "en": "The call centre answered with the unknown code {code}. Please try again later; if it"
        " stays, tell an administrator the code.",
    },
    # --- wire `requestStatus` ---
    "status.0": {
        "zh-CN": "您正在排队，请稍候。",
        "en": "You are in the queue. Please wait.",
    },
    "status.1": {
        "zh-CN": "客服已接受您的请求，马上开始对话。",
        "en": "An agent has accepted; the chat is about to begin.",
    },
    "status.2": {
        "zh-CN": "客服暂时无法接待您，再发一条消息即可重新排队。",
        "en": "The agent could not take your request. Write again to queue anew.",
    },
    "status.3": {
        "zh-CN": "排队超时，仍无客服接入。再发一条消息即可重新排队。",
        "en": "No agent became free in time. Write again to queue anew.",
    },
    "status.4": {
        "zh-CN": "您的排队已中断，再发一条消息即可重新排队。",
        "en": "Your place in the queue was lost. Write again to queue anew.",
    },
    "status.5": {
        "zh-CN": "目前没有客服在线，请稍后再发消息。",
        "en": "No agent is online at the moment. Please write again later.",
    },
    "status.6": {
        "zh-CN": "现在是非工作时间，请在工作时间再联系我们。",
        "en": "We are closed right now. Please come back during opening hours.",
    },
    "status.7": {
        "zh-CN": "已取消排队。",
        "en": "You have left the queue.",
    },
    "status.11": {
        "zh-CN": "客服已通过其他渠道接受您的请求，马上开始对话。",
        "en": "An agent has accepted on another channel; the chat is about to begin.",
    },
    "status.other": {
        "zh-CN": "排队因未知状态 {code} 而结束。再发一条消息即可重新排队；若仍不行，请告知管理员。",
        "en": "Queueing ended with the unknown status {code}. Write again to queue anew; if it"
        " stays, tell an administrator the number.",
    },
}
