"""How each command is written, for whoever wrote it otherwise; the keys are `usage.<command>`."""

from __future__ import annotations

from bridge.texts.catalogue import Catalogue

SENTENCES: Catalogue = {
    "usage.help": {
        "zh-CN": "用法：{prefix} help",
        "zh-TW": "用法：{prefix} help",
        "en": "Usage: {prefix} help",
        "ja": "使い方：{prefix} help",
    },
    "usage.start": {
        "zh-CN": "用法：{prefix} start [队列]",
        "zh-TW": "用法：{prefix} start [佇列]",
        "en": "Usage: {prefix} start [queue]",
        "ja": "使い方：{prefix} start [窓口]",
    },
    "usage.cancel": {
        "zh-CN": "用法：{prefix} cancel",
        "zh-TW": "用法：{prefix} cancel",
        "en": "Usage: {prefix} cancel",
        "ja": "使い方：{prefix} cancel",
    },
    "usage.close": {
        "zh-CN": "用法：{prefix} close",
        "zh-TW": "用法：{prefix} close",
        "en": "Usage: {prefix} close",
        "ja": "使い方：{prefix} close",
    },
    "usage.ask": {
        "zh-CN": "用法：{prefix} ask <问题>，例如 {prefix} ask 怎样退货？",
        "zh-TW": "用法：{prefix} ask <問題>，例如 {prefix} ask 怎麼退貨？",
        "en": "Usage: {prefix} ask <question>, for example {prefix} ask how do I return a parcel?",
        "ja": "使い方：{prefix} ask <質問>（例：{prefix} ask 返品するには？）",
    },
    "usage.human": {
        "zh-CN": "用法：{prefix} human",
        "zh-TW": "用法：{prefix} human",
        "en": "Usage: {prefix} human",
        "ja": "使い方：{prefix} human",
    },
    "usage.solved": {
        "zh-CN": "用法：{prefix} solved",
        "zh-TW": "用法：{prefix} solved",
        "en": "Usage: {prefix} solved",
        "ja": "使い方：{prefix} solved",
    },
    "usage.rate": {
        "zh-CN": "用法：{prefix} rate <分数> [留言]，例如 {prefix} rate 5 谢谢",
        "zh-TW": "用法：{prefix} rate <分數> [留言]，例如 {prefix} rate 5 謝謝",
        "en": "Usage: {prefix} rate <number> [comment], for example {prefix} rate 5 thanks",
        "ja": "使い方：{prefix} rate <数字> [コメント]（例：{prefix} rate 5 ありがとう）",
    },
    "usage.queue": {
        "zh-CN": "用法：{prefix} queue list、queue show 或 queue set <编号或名称>",
        "zh-TW": "用法：{prefix} queue list、queue show 或 queue set <編號或名稱>",
        "en": "Usage: {prefix} queue list, queue show or queue set <id or name>",
        "ja": "使い方：{prefix} queue list、queue show、queue set <番号または名前>",
    },
    "usage.lang": {
        "zh-CN": "用法：{prefix} lang <zh-CN|zh-TW|en|ja>",
        "zh-TW": "用法：{prefix} lang <zh-CN|zh-TW|en|ja>",
        "en": "Usage: {prefix} lang <zh-CN|zh-TW|en|ja>",
        "ja": "使い方：{prefix} lang <zh-CN|zh-TW|en|ja>",
    },
    "usage.from": {
        "zh-CN": "用法：{prefix} from <PC|MOBILE|WECHAT|APP>",
        "zh-TW": "用法：{prefix} from <PC|MOBILE|WECHAT|APP>",
        "en": "Usage: {prefix} from <PC|MOBILE|WECHAT|APP>",
        "ja": "使い方：{prefix} from <PC|MOBILE|WECHAT|APP>",
    },
    "usage.config": {
        "zh-CN": "用法：{prefix} config show、config set <键> <值> 或 config reset；键：queue、from、language、start、paused",
        "zh-TW": "用法：{prefix} config show、config set <鍵> <值> 或 config reset；鍵：queue、from、language、start、paused",
        "en": "Usage: {prefix} config show, config set <key> <value> or config reset; keys: queue, from, language, start, paused",
        "ja": "使い方：{prefix} config show、config set <キー> <値>、config reset（キー：queue、from、language、start、paused）",
    },
    "usage.status": {
        "zh-CN": "用法：{prefix} status",
        "zh-TW": "用法：{prefix} status",
        "en": "Usage: {prefix} status",
        "ja": "使い方：{prefix} status",
    },
    "usage.pause": {
        "zh-CN": "用法：{prefix} pause",
        "zh-TW": "用法：{prefix} pause",
        "en": "Usage: {prefix} pause",
        "ja": "使い方：{prefix} pause",
    },
    "usage.resume": {
        "zh-CN": "用法：{prefix} resume",
        "zh-TW": "用法：{prefix} resume",
        "en": "Usage: {prefix} resume",
        "ja": "使い方：{prefix} resume",
    },
    "usage.version": {
        "zh-CN": "用法：{prefix} version",
        "zh-TW": "用法：{prefix} version",
        "en": "Usage: {prefix} version",
        "ja": "使い方：{prefix} version",
    },
}
