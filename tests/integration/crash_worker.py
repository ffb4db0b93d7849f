"""A run that can be killed: slow scripted models, and a log line for each drawing that is begun.

`python crash_worker.py HOME LOG ROUNDS`: starts the thread `t`, or goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.messages import TaskInput
from gems.core.ports import Drawing, DrawRequest, Progress
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.graph import OwnServices, open_graph
from gems.memory import drawing_key


class LoggedImages(ScriptedImages):
    """Takes a moment for each drawing, and logs its key when it begins, as a server's own log would."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        with self._log.open("a") as file:
            file.write(f"{drawing_key(self.identity, request, None)}\n")
            file.flush()
            os.fsync(file.fileno())
        await asyncio.sleep(0.02 * (1 + request.seed % 3))
        return await super().generate(request, progress)


def judge(task: TaskInput) -> dict[str, Any]:
    """Never satisfied, so that all rounds are run."""
    return {
        "verdicts": [
            {"id": it["id"], "evidence": "", "verdict": "met" if it["id"] == "r1" else "unmet", "confidence": 0.9}
            for it in task.fields["requirements"]
        ]
    }


async def main(home: Path, log: Path, rounds: int) -> None:
    """Start or go on."""
    services = OwnServices(
        Settings(home=home, profiles=dict(BUILT_IN)), chat=rehearse([""], judge=judge), images=LoggedImages(log)
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    context: Any = {"size": "256x256", "seed": 0, "candidates": 3, "max_rounds": rounds}
    async with open_graph(services.settings, services=services) as graph:
        state = await graph.aget_state(config)
        if state.values.get("status") == "done":
            return  # killed between its last checkpoint and its exit
        # Not `next` alone: it is empty while all tasks of a step have written but the step is not yet closed.
        begun = bool(state.next or state.values)
        await graph.ainvoke(None if begun else {"prompt": "two red dogs"}, config, context=context, durability="sync")  # type: ignore[call-overload]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
