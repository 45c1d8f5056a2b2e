import asyncio, json, os
import pytest
from bridge.demo.child_process import free_port
from bridge.demo.stage import QUEUES
from tests.support.stage import StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged

@pytest.mark.asyncio
async def test_play(request, tmp_path_factory):
    synapse, own = free_port(), free_port()
    url = f"http://127.0.0.1:{own}"
    listener = {"port": synapse, "type": "http", "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client", "openid"]}]}
    options = StageOptions(synapse={"listeners": [listener]}, synapse_port=synapse, simulator=UNLIMITED,
        config={"bridge": bridge_section(), "queues": list(QUEUES),
          "console": {"enabled": True, "port": own, "public_url": url},
          "provisioning": {"enabled": True, "secret": "s"*40}})
    async with staged(request, tmp_path_factory, options) as stage:
        open("/tmp/r4_stage.json","w").write(json.dumps({k: str(v) for k, v in vars(stage).items()} | {"console": url, "synapse": synapse}))
        for _ in range(1200):
            if os.path.exists("/tmp/r4_stop"): break
            await asyncio.sleep(1)
