"""Where pictures are decoded: beside event loops, and few at once, since a large one takes hundreds of megabytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

AT_ONCE: Final = 2
P = ParamSpec("P")
T = TypeVar("T")
_DESK: Final = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gems pictures")
"""Its threads begin with the first picture."""


async def decoded(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` makes of a picture, in a thread; it waits for its turn where others are at it."""
    return await asyncio.get_running_loop().run_in_executor(_DESK, lambda: work(*args, **kwargs))
