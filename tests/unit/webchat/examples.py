"""The frames of the protocol reference, verbatim (sections 1.2, 1.3, 1.4)."""
# ruff: noqa: E501 -- a frame is one line on the wire

COMMANDS: tuple[str, ...] = (
    r"""{"messageId":1,"type":2,"token":"T","time":1733011200000}""",
    r"""{"messageId":2,"type":10}""",
    r"""{"messageId":3,"type":101,"token":"T","time":1733011200100,"queueId":7,"from":"APP"}""",
    r"""{"messageId":4,"type":101,"token":"T","time":1733011200200,"queueId":7,"from":"APP","toUserId":"K00017","brand":"element","tracks":"[]"}""",
    r"""{"messageId":5,"type":102,"token":"T","time":1733011201000,"requestId":9001}""",
    r"""{"messageId":6,"type":103,"token":"T","time":1733011299000,"sessionId":5150}""",
    r"""{"messageId":7,"type":104,"token":"T","time":1733011300000,"sessionId":5150,"rating":{"id":1,"comments":"quick answer"}}""",
    r"""{"messageId":8,"type":104,"token":"T","time":1733011300000,"sessionId":5150,"rating":{"ratingId":1,"ratingComments":"quick answer"}}""",
    r"""{"messageId":9,"type":110,"token":"T","time":1733011210000,"sessionId":5150,"msg":{"type":1,"content":{"content":"my parcel is late","extra":""}}}""",
    r"""{"messageId":10,"type":110,"token":"T","time":1733011211000,"sessionId":5150,"msg":{"type":1,"content":{"text":"my parcel is late","extra":""}}}""",
    r"""{"messageId":11,"type":111,"token":"T","time":1733011205000,"requestId":9001,"content":"order 4711"}""",
    r"""{"messageId":12,"type":112,"token":"T","sessionId":5150,"content":"my par"}""",
    r"""{"messageId":13,"type":113,"token":"T","sessionId":5150}""",
    r"""{"messageId":14,"type":120,"token":"T","time":1733011212000,"rsId":"0c7d6f6e-8a52-4e5b-9a64-5f1a2b3c4d5e"}""",
    r"""{"messageId":15,"type":302,"token":"T","time":1733011213000,"sessionId":5150}""",
)
"""Section 1.2, in the dialects of 2016 and later."""

REPLIES: tuple[str, ...] = (
    r"""{"messageId":3,"type":101,"result":1,"message":""}""",
    r"""{"messageId":3,"type":101,"result":1,"message":"queued","requestId":9001,"queueLength":3}""",
    r"""{"messageId":3,"type":101,"result":1,"message":"","requestId":9001,"queueLength":0,"continueLastSession":true}""",
    r"""{"messageId":3,"type":101,"result":1,"message":"","sessionId":5150,"agentId":"BOT007","agentName":"Helper","robotType":3,"queueLength":0}""",
    r"""{"messageId":3,"type":101,"result":1,"message":"","sessionId":5150,"perm":1,"agentId":"K00017","agentName":"Mei","icon":"headimg/mei.png","comments":""}""",
    r"""{"messageId":3,"type":101,"result":-3,"message":"outside working hours"}""",
    r"""{"messageId":9,"type":110,"result":1,"message":""}""",
    r"""{"messageId":9,"type":110,"result":-11,"message":"no such session","originalMessage":{"objectName":"RC:TxtMsg","content":"{\"content\":\"my parcel is late\"}"}}""",
    r"""{"messageId":9,"type":110,"result":1,"message":"","sessionId":5150,"agents":[{"id":"K00017","name":"Mei","icon":"","comments":""}]}""",
    r"""{"messageId":2,"type":10,"result":1}""",
    r"""{"messageId":15,"type":302,"result":1,"message":"","queueLength":2}""",
)
"""Section 1.3."""

PUSHES: tuple[str, ...] = (
    r"""{"type":200,"ratings":[],"fileAcceptExtensionsArr":"zip,jpg,png,doc","hisSessions":[5101,5120],"rsId":"r-1"}""",
    r"""{"type":201,"requestId":9001,"requestStatus":0,"queueLength":2}""",
    r"""{"type":201,"data":{"requestId":9001,"requestStatus":0,"queueLength":2},"rsId":"r-2"}""",
    r"""{"type":202,"sessionId":5150,"agents":[{"id":"K00017","name":"Mei","icon":"https://h/ngs/mei.png","comments":"tier 1"}]}""",
    r"""{"type":202,"sessionId":5150,"continueLastSession":true,"users":[{"id":"K00017","name":"Mei","icon":"headimg/mei.png","comments":""},{"id":"7b0c2c58-6f0e-4d0e-9d51-0d7b3a3f5a10","name":"room-42","icon":""}],"rsId":"r-3"}""",
    r"""{"type":203,"sessionId":5150,"agentId":"K00017"}""",
    r"""{"type":204,"sessionId":5150,"queueId":8,"queueName":"Returns","agents":[{"id":"K00017","name":"Mei","icon":"","comments":""},{"id":"K00021","name":"Jun","icon":"","comments":"lead"}]}""",
    r"""{"type":205,"sessionId":5150,"agentId":"K00017"}""",
    r"""{"type":210,"sessionId":5150,"agentId":"K00017","msg":{"type":1,"content":"Hello /::) see <a href=\"https://h/faq\">the FAQ</a>"}}""",
    r"""{"type":210,"sessionId":5150,"agentId":"K00017","msg":{"type":2,"content":"iVBORw0KGgoAAAANSUhEUg=="}}""",
    r"""{"type":210,"sessionId":5150,"agentId":"K00017","msg":{"type":3,"content":{"name":"terms.pdf","url":"/webchat/up/terms.pdf","size":20480}}}""",
    r"""{"type":210,"sessionId":5150,"agentId":"K00017","msg":{"type":99,"noticeType":5,"content":""},"rsId":"r-4"}""",
    r"""{"type":301,"sessionId":5150,"robotType":3,"content":"{\"type\":\"text\",\"content\":\"Which order?\"}"}""",
)
"""Section 1.4."""
