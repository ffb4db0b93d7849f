"""The studio of this machine: one thread for each device, which alone touches the pipelines there.

A pipeline is not safe in two threads at once: some then fail, and some draw wrong pictures in silence.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from gems.backends.cleaning import clean
from gems.backends.local.devices import ReadMemory, empty_cache, read_memory, use_device
from gems.backends.local.faults import is_out_of_memory, let_go
from gems.backends.local.loading import Loaded, load
from gems.backends.local.orders import LocalModel, Order, Painted
from gems.backends.local.painting import Stopped, paint
from gems.backends.local.placement import MEGAPIXEL, Memory, Placement, TooLarge
from gems.backends.local.queue import WINDOW, Errand, Job, OrderQueue
from gems.backends.local.quiet import WORKERS
from gems.backends.local.rooms import choose_placement, refusal
from gems.backends.local.studio import Figures
from gems.backends.local.weights import Weights, find_weights
from gems.core.errors import DrawingRefused, GemsConfigError, GemsError, ModelOutage

JOIN_SECONDS: Final = 10.0
"""How long a worker is waited for at the end: it may be in the middle of a step."""

logger = logging.getLogger(__name__)

Load = Callable[[LocalModel, Weights, str, Placement], Loaded]


class LocalStudio:
    """Draws on devices of this machine, in threads that are started with the first order."""

    def __init__(
        self,
        devices: Sequence[str],
        *,
        memory: ReadMemory = read_memory,
        load_with: Load = load,
        window: float = WINDOW,
    ) -> None:
        """Take the devices, by torch's names.

        Args:
            devices: At least one.
            memory: Tells what a device has free.
            load_with: Makes pipelines.
            window: Seconds that an order waits for others to share its go.
        """
        self._queue = OrderQueue(window)
        self._workers = [_Worker(device, self._queue, memory, load_with) for device in devices]
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._never_begun = 0

    @property
    def is_closed(self) -> bool:
        """Whether it draws no more."""
        return self._queue.is_closed

    @property
    def devices(self) -> list[str]:
        """Their names."""
        return [worker.device for worker in self._workers]

    async def draw(self, order: Order) -> Painted:
        """Draw, once it is this order's turn. Cancelling the task stops the drawing within a step.

        Raises:
            GemsConfigError: the weights cannot be loaded, or the model cannot draw this.
            ModelOutage: the drawing failed.
            DrawingRefused: the model's own checker shows no picture.
        """
        job = Job(order)
        self._start()
        self._queue.put(job)
        try:
            return await asyncio.wrap_future(job.result)
        except asyncio.CancelledError:
            job.stopped.set()
            if job.result.cancelled():  # before a worker took it up
                with self._starting:
                    self._never_begun += 1
            raise

    async def ready(self, model: LocalModel) -> None:
        """Load a model on every device now.

        Raises:
            GemsConfigError: the weights cannot be loaded.
        """
        await self._all_do(lambda worker: worker.find(model, MEGAPIXEL))

    def expect(self, model: LocalModel) -> None:
        """Begin to load a model; whatever is wrong with it will be said when something is drawn."""
        self._start()
        self._queue.send(self._workers[0], Errand(lambda worker: worker.find(model, MEGAPIXEL)))

    async def rest(self) -> None:
        """Leave the devices' memory to others until the next drawing."""
        if self._threads:
            with suppress(ModelOutage):  # a studio that closes lets all go
                await self._all_do(_Worker.rest)

    def figures(self) -> Figures:
        """What was done so far, and what waits."""
        done = [worker.figures for worker in self._workers]
        sums = Figures(*(sum(column) for column in zip(*done, strict=True)))
        return sums._replace(waiting=self._queue.waiting, cancelled=sums.cancelled + self._never_begun)

    def holds(self, model: LocalModel) -> bool:
        """Whether a model is in memory somewhere."""
        return any(worker.holds(model) for worker in self._workers)

    def room(self, device: str) -> Memory:
        """What a device would have free if nothing of this studio were in memory: it all goes when there is need."""
        worker = next(it for it in self._workers if it.device == device)
        return worker.room()

    def placements(self) -> dict[str, dict[str, str]]:
        """By device, which model lies there how."""
        return {worker.device: worker.placements for worker in self._workers}

    def close(self) -> None:
        """Stop the workers within a step; what waits is cancelled."""
        for job in self._queue.close():
            job.result.cancel()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        atexit.unregister(self.close)

    async def _all_do(self, what: Callable[[_Worker], object]) -> None:
        self._start()
        errands = [Errand(what) for _ in self._workers]  # type: ignore[arg-type]  # what it answers is dropped
        for worker, errand in zip(self._workers, errands, strict=True):
            self._queue.send(worker, errand)
        results = [asyncio.wrap_future(errand.result) for errand in errands]
        for result in results:
            result.add_done_callback(lambda it: it.cancelled() or it.exception())  # also when nobody waits any more
        await asyncio.gather(*map(asyncio.shield, results))

    def _start(self) -> None:
        with self._starting:
            if self._threads:
                return
            # Daemons, so that a process can end; at its end they are stopped first, since a device dislikes sudden deaths.
            for worker in self._workers:
                thread = threading.Thread(target=worker.run, name=f"{WORKERS}{worker.device}", daemon=True)
                self._threads.append(thread)
                thread.start()
            atexit.register(self.close)


class _Worker:
    """The thread of one device."""

    def __init__(self, device: str, queue: OrderQueue, memory: ReadMemory, load_with: Load) -> None:
        self.device = device
        self.figures = Figures()
        self._queue = queue
        self._memory = memory
        self._load = load_with
        self._pipes: dict[LocalModel, Loaded] = {}
        """The least recently used first. Other threads read it, in steps that Python does not interrupt."""
        self._stopping = threading.Event()

    @property
    def placements(self) -> dict[str, str]:
        """How each model lies."""
        return {loaded.model.source: loaded.placement.label for loaded in list(self._pipes.values())}

    def run(self) -> None:
        """Work until the queue is closed."""
        try:
            use_device(self.device)
        except Exception:
            logger.exception("%s cannot be chosen", self.device)  # what is drawn there will say why
        while (work := self._queue.take(self, self._idle_left())) != []:
            try:
                self._do(work)
            except Exception as error:
                # A broken device fails at anything. Whoever waits is told, and nobody waits for a thread that is gone.
                logger.exception("the worker of %s failed", self.device)
                self._fail(work if isinstance(work, list) else [], error)
                self.figures = self.figures._replace(drawing=0)
        self._pipes.clear()
        with suppress(Exception):
            empty_cache(self.device)

    def _do(self, work: list[Job] | Errand | None) -> None:
        if work is None:
            self._release_idle()
        elif isinstance(work, Errand):
            work.run(self)
        else:
            self._draw(work)

    def holds(self, model: LocalModel) -> bool:
        """Whether a model is in memory; for any thread."""
        return model in self._pipes

    def room(self) -> Memory:
        """What would be free without the pipelines here; for any thread."""
        read, held = self._memory(self.device), list(self._pipes.values())
        return read._replace(
            free=read.free + sum(loaded.device_bytes for loaded in held),
            host_free=read.host_free + sum(loaded.host_bytes for loaded in held),
        )

    def stop(self) -> None:
        """End what is under way within a step; for any thread."""
        self._stopping.set()

    def rest(self) -> None:
        """Leave the device's memory; weights that the machine's has no room for are loaded again later."""
        for model, loaded in list(self._pipes.items()):
            in_one_memory = self.device == "mps"  # moving weights there would give nothing back
            if in_one_memory or (self.device != "cpu" and loaded.device_bytes > self._memory(self.device).host_free):
                self._release(model)
                continue
            try:
                loaded.rest()
            except Exception:
                logger.exception("%s could not leave %s", model.source, self.device)
                self._release(model)
        empty_cache(self.device)

    def find(self, model: LocalModel, pixels: int) -> Loaded:
        """The pipeline, on the device.

        Raises:
            GemsConfigError: the weights cannot be loaded.
        """
        loaded = self._pipes.get(model)
        if loaded is not None and not self._wakes(loaded):
            loaded = None
            self._release(model)  # somebody else has taken the memory: it is laid out anew
        if loaded is None:
            loaded = self._pipes[model] = self._loaded(model, pixels)
        self._pipes[model] = self._pipes.pop(model)
        loaded.used = time.monotonic()
        return loaded

    def _wakes(self, loaded: Loaded) -> bool:
        try:
            loaded.wake()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            let_go(error)
            return False
        return True

    def _draw(self, jobs: list[Job]) -> None:
        first = jobs[0].order
        try:
            loaded = self.find(first.model, first.width * first.height)
        except Exception as error:
            self._fail(jobs, error)
            return
        too_many = jobs[loaded.most_together(first) :]
        # From here on they are others' affair.
        del jobs[len(jobs) - len(too_many) :]
        if too_many:
            try:
                self._queue.put_back(too_many)
            except ModelOutage as error:
                self._fail(too_many, error)
        begun = [job for job in jobs if job.begin()]
        if begun:
            self._paint(loaded, begun)
        loaded.used = time.monotonic()

    def _paint(self, loaded: Loaded, jobs: list[Job]) -> None:
        """Draw, and tell everybody. What ran out of memory is drawn again one by one, with more room or less need of it."""
        self._count(drawing=len(jobs))
        failure = self._try(loaded, jobs)
        if failure is None:
            return
        if not is_out_of_memory(failure):
            self._fail(jobs, failure, begun=True)
            return
        has_room = self._release_others(loaded)
        if len(jobs) > 1:
            loaded.lower_together(len(jobs))
        for job in jobs:
            if len(jobs) > 1 or has_room:
                self._paint_alone(loaded, job)
            else:
                self._paint_with_less(loaded, job)

    def _paint_alone(self, loaded: Loaded, job: Job) -> None:
        failure = Stopped() if job.stopped.is_set() else self._try(loaded, [job])
        if failure and is_out_of_memory(failure):
            self._paint_with_less(loaded, job)
        elif failure:
            self._fail([job], failure, begun=True)

    def _paint_with_less(self, loaded: Loaded, job: Job) -> None:
        loaded.forget()
        if loaded.relieve(self._memory(self.device).host_free):
            empty_cache(self.device)
            failure = self._try(loaded, [job])
        else:
            failure = self._no_memory(job.order)
        if failure:
            self._fail([job], failure, begun=True)

    def _try(self, loaded: Loaded, jobs: list[Job]) -> Exception | None:
        """One go. Answers why it failed; else everybody is told."""
        started = time.monotonic()
        try:
            painted = self._one_go(loaded, jobs)
        except Exception as error:
            # Held by the error, the failed go's tensors would stay.
            let_go(error)
            self._count(batches=1, busy_seconds=time.monotonic() - started)
            return error
        refused = sum(isinstance(it, DrawingRefused) for it in painted)
        # Before anybody is told: who is told may ask for the figures.
        self._count(
            drawing=-len(jobs),
            drawn=len(jobs) - refused,
            failed=refused,
            batches=1,
            busy_seconds=time.monotonic() - started,
        )
        for job, picture in zip(jobs, painted, strict=True):
            if isinstance(picture, DrawingRefused):
                job.result.set_exception(picture)
            else:
                job.result.set_result(picture)
        return None

    def _one_go(self, loaded: Loaded, jobs: list[Job]) -> list[Painted | DrawingRefused]:
        def stop() -> bool:
            return self._stopping.is_set() or all(job.stopped.is_set() for job in jobs)

        return paint(loaded, [job.order for job in jobs], stop)

    def _fail(self, jobs: list[Job], error: Exception, *, begun: bool = False) -> None:
        """Tell everybody why there is no picture."""
        is_stopped = isinstance(error, Stopped)
        if is_stopped:
            # Whoever still waits does so for a studio that closes.
            error = ModelOutage("the drawing was stopped: this process is ending")
        ended = sum(not job.result.done() for job in jobs)
        self._count(drawing=-len(jobs) * begun, **{"cancelled" if is_stopped else "failed": ended})
        for job in jobs:
            job.fail(self._told(job.order, error))

    def _told(self, order: Order, error: Exception) -> Exception:
        if isinstance(error, GemsError):
            return error
        if is_out_of_memory(error):
            return self._no_memory(order)
        said = clean(str(error)) or "no more is known"
        told = ModelOutage(f"{order.model.source} failed while drawing: {type(error).__name__}: {said}")
        told.__cause__ = error
        return told

    def _no_memory(self, order: Order) -> ModelOutage:
        return ModelOutage(
            f"{order.model.source} ran out of memory on {self.device} at {order.width}x{order.height}, also after giving "
            "back what it could: take a smaller size, a smaller model, or local.placement = 'fp8'"
        )

    def _loaded(self, model: LocalModel, pixels: int) -> Loaded:
        weights = find_weights(model)
        if model.fingerprint not in ("", weights.fingerprint):
            raise GemsConfigError(f"the files of {model.source} have changed meanwhile: start the run anew")
        placement = self._placement(model, weights, pixels)
        try:
            return self._load(model, weights, self.device, placement)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            let_go(error)
        self._release_others(None)
        # The same again with less than the first layout wanted, which makes it the next one.
        less = partial(_less, self._memory, placement)
        placement = self._placement(model, weights, pixels, less)
        try:
            return self._load(model, weights, self.device, placement)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            let_go(error)
        raise GemsConfigError(
            f"{model.source} ran out of memory on {self.device} while it was loaded ({placement.label}): close what else "
            "uses it, or set local.placement to one that takes less"
        )

    def _placement(
        self, model: LocalModel, weights: Weights, pixels: int, memory: ReadMemory | None = None
    ) -> Placement:
        """How the weights are laid out. Others on the device make room before this one takes a slower layout."""
        while True:
            read = (memory or self._memory)(self.device)
            try:
                placement = choose_placement(model, weights, read, pixels)
            except TooLarge as error:
                if not self._pipes:
                    raise refusal(model, weights, read, error) from error
                self._release(next(iter(self._pipes)))
                continue
            if not self._pipes or model.options.placement != "auto":
                return placement
            best = choose_placement(model, weights, self.room(), pixels)
            if placement.label == best.label:
                return placement
            self._release(next(iter(self._pipes)))

    def _release_others(self, loaded: Loaded | None) -> bool:
        """Release all pipelines but this one. Answers whether there were any."""
        others = [model for model, it in self._pipes.items() if it is not loaded]
        for model in others:
            del self._pipes[model]
        if loaded:
            loaded.forget()
        empty_cache(self.device)
        return bool(others)

    def _release(self, model: LocalModel) -> None:
        del self._pipes[model]
        empty_cache(self.device)

    def _release_idle(self) -> None:
        for model, loaded in list(self._pipes.items()):
            if loaded.idle_left() <= 0:
                self._release(model)

    def _idle_left(self) -> float | None:
        return min((max(0.0, loaded.idle_left()) for loaded in self._pipes.values()), default=None)

    def _count(self, **more: float) -> None:
        # Only this worker's thread writes; readers get one tuple or the next.
        self.figures = self.figures._replace(**{name: getattr(self.figures, name) + by for name, by in more.items()})


def _less(memory: ReadMemory, placement: Placement, device: str) -> Memory:
    now = memory(device)
    return now._replace(free=now.free - placement.spare - 1)
