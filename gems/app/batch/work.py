"""A batch at work: what its threads hold, which rows are to run, and what becomes of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from langgraph.types import StateSnapshot

from gems.app.batch.begun import Standing, changes, standing_of
from gems.app.batch.fund import Fund
from gems.app.batch.pictures import Pictures
from gems.app.batch.pool import Pool
from gems.app.batch.progress import BatchView
from gems.app.batch.results import Results, result_row
from gems.app.batch.row_run import BatchCall, Ending, RowRun
from gems.app.batch.rows import Row, told
from gems.app.batch.tally import Tally
from gems.app.outcome import Outcome, outcome_of
from gems.app.runner import thread_config
from gems.core.errors import GemsConfigError, GemsError, GemsRunError, ModelOutage, StoreOutage
from gems.core.events import Event
from gems.core.ports import ArtifactStore
from gems.core.state import GemsState
from gems.graph import GemsGraph

_FIRST: Final = "No row begins any more; those that run stop after their step. Press Ctrl-C again to stop now."


class Outputs(NamedTuple):
    """Where a batch writes, and who watches it."""

    results: Results
    pictures: Pictures
    view: BatchView
    tally: Tally


class _Refusal(NamedTuple):
    row: Row
    outcome: Outcome
    error: GemsConfigError


class BatchWork:
    """The rows of a batch on one graph."""

    def __init__(
        self,
        graph: GemsGraph,
        artifacts: ArtifactStore,
        references: Mapping[Path, str],
        outputs: Outputs,
        fund: Fund,
        *,
        jobs: int,
        debug: bool = False,
    ) -> None:
        """Prepare.

        Args:
            graph: Runs every row, so that all share its models and their places.
            artifacts: Where images lie.
            references: The artifact of each reference image.
            outputs: Where results go.
            fund: What all may cost. Where that is limited, each row has a `max_cost`.
            jobs: Most rows that run at the same time.
            debug: Whether errors are printed with their traceback.
        """
        self._graph = graph
        self._artifacts = artifacts
        self._references = references
        self._outputs = outputs
        self._fund = fund
        self._debug = debug
        self._pool = Pool[Row](jobs)
        self._running: dict[int, RowRun] = {}
        self._again: list[Row] = []
        self._may_try_again = True
        self._refusals: list[_Refusal] = []

    async def unfinished(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that have something to do; of those that have ended, the results are taken from their threads.

        Raises:
            GemsConfigError: a row asks for something else than what its thread was begun with.
        """
        todo, problems = [], []
        tally = self._outputs.tally
        for row in rows:
            snapshot = await self._snapshot(row)
            standing = standing_of(snapshot)
            await self._fund.count(row.number, _state(snapshot))
            if standing != "new" and (changed := changes(row, self._kept(row), snapshot)):
                problems.append(f"line {row.line} ({row.thread_id}): {'; '.join(changed)}")
            elif problems:
                continue
            elif standing == "ended":
                outcome, image = await self._picture(row, snapshot, self._outcome(row, snapshot, Ending()))
                self._outputs.results.keep(row.number, result_row(row, outcome, image))
                tally.add(outcome)
                tally.earlier += 1
            else:
                todo.append(row)
        if problems:
            what = "these rows were begun with something else"
            raise GemsConfigError(f"{told(what, problems)}\nSet them back, or give --name OTHER to begin all anew")
        return todo

    async def run(self, rows: Sequence[Row]) -> None:
        """Run these rows, and once more at the end those whose model did not answer.

        Raises:
            GemsConfigError: every row was refused before it began, or the results cannot be written.
        """
        self._outputs.results.rewrite()
        self._outputs.view.started()
        try:
            await self._pool.run(rows, self._one)
            again, self._again, self._may_try_again = self._again, [], False
            await self._pool.run(again, self._one)
            if self._refusals and len(self._refusals) == self._outputs.tally.rows:
                row, _, error = self._refusals[0]
                raise GemsConfigError(f"no row could begin; line {row.line}: {error}")
            for row, outcome, _ in self._refusals:
                await self._record(row, outcome, None)
        finally:
            self._outputs.view.close()
        self._outputs.results.rewrite()

    def stop(self) -> None:
        """Begin no further row, and end those that run after their step."""
        self._close()
        self._outputs.view.say(_FIRST)
        for run in self._running.values():
            run.drain()

    def stop_now(self) -> None:
        """End the rows that run."""
        self._close()
        for run in self._running.values():
            run.cancel()

    def _close(self) -> None:
        self._pool.close()
        self._outputs.tally.was_stopped = True

    async def _one(self, row: Row) -> None:
        if not await self._fund.admit(row.number, row.options.get("max_cost", 0.0)):
            return
        snapshot = await self._snapshot(row)
        # The batch may have been stopped while the row waited for money.
        if not self._pool.is_closed:
            snapshot = await self._admitted(row, standing_of(snapshot))
        await self._fund.count(row.number, _state(snapshot))

    async def _admitted(self, row: Row, standing: Standing) -> StateSnapshot:
        """Run the row, record what it came to, and answer its thread as it is then."""
        ending = Ending()
        if standing != "ended":
            self._outputs.view.began(row)
            ending = await self._go(row, is_begun=standing == "begun")
        snapshot = await self._snapshot(row)
        if isinstance(ending.error, ModelOutage | StoreOutage) and self._may_try_again:
            self._again.append(row)
            self._outputs.view.postponed(row, ending.error)
            return snapshot
        outcome = self._outcome(row, snapshot, ending)
        if isinstance(ending.error, GemsConfigError) and not self._pool.has_begun:
            self._refusals.append(_Refusal(row, outcome, ending.error))
            return snapshot
        await self._record(row, *await self._picture(row, snapshot, outcome))
        return snapshot

    async def _go(self, row: Row, *, is_begun: bool) -> Ending:
        given = None if is_begun else {"prompt": row.prompt, "references": self._kept(row)}
        run = RowRun(self._graph, BatchCall(row.thread_id, given, row.options), self._watch, debug=self._debug)
        self._running[row.number] = run
        try:
            ending = await run.go()
        finally:
            del self._running[row.number]
        if not isinstance(ending.error, GemsConfigError):
            self._pool.begin()
        return ending

    def _watch(self, event: Event) -> None:
        self._pool.begin()
        self._outputs.view.event(event)

    def _outcome(self, row: Row, snapshot: StateSnapshot, ending: Ending) -> Outcome:
        outcome = outcome_of(row.thread_id, _state(snapshot), self._artifacts.place, stopped=ending.stopped)
        error = ending.error
        if error is None and outcome.status == "running":
            error = GemsRunError(f"the run waits for a person: `gems review {row.thread_id}` goes on")
        return outcome if error is None else outcome.with_error(error)

    async def _picture(self, row: Row, snapshot: StateSnapshot, outcome: Outcome) -> tuple[Outcome, str | None]:
        try:
            return outcome, await self._outputs.pictures.keep(row, snapshot)
        except GemsConfigError:
            raise
        except (GemsError, ValueError) as error:
            return outcome.with_error(error), None

    async def _record(self, row: Row, outcome: Outcome, image: str | None) -> None:
        await asyncio.to_thread(self._outputs.results.append, row.number, result_row(row, outcome, image))
        self._outputs.tally.add(outcome)
        self._outputs.view.ended(row, outcome)

    def _kept(self, row: Row) -> list[str]:
        return [self._references[path] for path in row.references]

    async def _snapshot(self, row: Row) -> StateSnapshot:
        return await self._graph.aget_state(thread_config(row.thread_id))


def _state(snapshot: StateSnapshot) -> GemsState:
    return snapshot.values  # type: ignore[return-value]
