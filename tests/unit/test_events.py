"""Progress from other threads reaches the stream of its own run."""

from __future__ import annotations

from typing import Any

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.ports import Drawing, DrawRequest, Progress
from gems.core.settings import Settings
from gems.graph import OwnServices, build_graph


class ThreadedImages(ScriptedImages):
    """Reports its steps from a thread that knows nothing of the run, as GPU workers do."""

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        assert progress is not None
        with ThreadPoolExecutor(1) as pool:
            for step in (1, 2, 3):
                await asyncio.get_running_loop().run_in_executor(pool, progress, step, 3)
        return await super().generate(request)


def steps(events: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return sorted((it["attempt"], it["step"], it["steps"]) for it in events if it["event"] == "drawing")


async def test_steps_are_streamed_from_worker_threads(settings: Settings) -> None:
    graph = build_graph(OwnServices(settings, chat=rehearse(["+++"]), images=ThreadedImages()))
    context: Any = {"size": "64x64", "candidates": 2}
    wanted = [(attempt, step, 3) for attempt in ("1.1", "1.2") for step in (1, 2, 3)]
    stream = graph.astream({"prompt": "a dog"}, context=context, stream_mode="custom")  # type: ignore[call-overload]
    assert steps([event async for event in stream]) == wanted
    sync_events = list(graph.stream({"prompt": "a dog"}, context=context, stream_mode="custom"))  # type: ignore[call-overload]
    assert steps(sync_events) == wanted
