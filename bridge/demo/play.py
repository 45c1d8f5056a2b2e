"""`matrix-webchat demo`: a whole conversation on real parts, printed as a transcript."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from bridge.demo.process import BridgeError
from bridge.demo.scenes import play
from bridge.demo.stage import Stage, StageOptions, set_stage
from bridge.demo.synapse import SynapseError
from bridge.demo.transcript import Transcript
from bridge.demo.trouble import play_second_chat
from bridge.ops.logging import configure_logging


def main(*, check: bool = False) -> int:
    """Play the demo.

    Args:
        check: stop after the transcript instead of staying up.

    Returns:
        0 if every step passed, else 1.
    """
    configure_logging("WARNING", "text")
    console = Console(highlight=False, soft_wrap=True)
    with suppress(KeyboardInterrupt):
        return asyncio.run(_main(console, check=check))
    return 0


async def _main(console: Console, *, check: bool) -> int:
    transcript = Transcript(console)
    with tempfile.TemporaryDirectory(prefix="webchat-demo-") as folder:
        try:
            transcript.note(
                "Starting Synapse, the WebChat simulator and the bridge (a few seconds)…"
            )
            async with set_stage(Path(folder), StageOptions()) as stage:
                transcript.note(f"Synapse {stage.synapse.address}, bridge {stage.bridge.url}")
                scene = await play(stage, transcript)
                await play_second_chat(scene)
                transcript.verdict()
                if not check:
                    await _stay_up(stage, console)
        except (SynapseError, BridgeError) as error:
            console.print(f"[bold red]FAIL[/]  {error}")
            return 1
    return 1 if transcript.failed else 0


async def _stay_up(stage: Stage, console: Console) -> None:
    """Leave everything running until Ctrl-C, and say how to use it."""
    console.print(
        f"\nStill running; press Ctrl-C to stop.\n"
        f"  Homeserver   {stage.synapse.address}   (in Element: Edit the homeserver)\n"
        f"  Customer     alice, password alice-secret; write to {stage.bot}\n"
        f"  Agent        {stage.simulator.desk_url}   (a desk in the browser, one tab per agent)\n"
        f'  Scripts      curl -d \'{{"op": "say", "text": "Hi"}}\' '
        f"{stage.simulator.control_url}/do\n"
        f"  Logs         {stage.bridge.log_file}, {stage.synapse.log_file}"
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
