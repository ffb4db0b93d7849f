"""A run on thread `t` that goes on for long, until it is asked to stop.

Prints `begun` at its second drawing and, at its end, a JSON object: the status in the output, and the steps that are left.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.ports import Drawing, DrawRequest, Progress
from gems.core.settings import load_settings
from gems.graph import OwnServices, open_graph

CONFIG: Any = {"configurable": {"thread_id": "t"}}
CONTEXT: Any = {"size": "64x64", "max_rounds": 20}


class SlowImages(ScriptedImages):
    """Takes a moment for each drawing, and says when the second is begun."""

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        if len(self.history) == 1:
            sys.stdout.write("begun\n")
            sys.stdout.flush()
        await asyncio.sleep(0.3)
        return await super().generate(request, progress)


async def main() -> None:
    """Run, and tell."""
    services = OwnServices(load_settings(), chat=rehearse(["+--"]), images=SlowImages())
    given: Any = {"prompt": "a dog"}
    async with open_graph(services=services) as graph:
        output = await graph.ainvoke(given, CONFIG, context=CONTEXT)
        left = (await graph.aget_state(CONFIG)).next
    sys.stdout.write(json.dumps({"status": output["status"], "left": left}))


if __name__ == "__main__":
    asyncio.run(main())
