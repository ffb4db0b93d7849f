"""A store of lessons that is watched: what was found and what helped is noted, and, where it is frozen, not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gems.core.errors import GemsConfigError
from gems.core.ports import Lesson, LessonQuery, Lessons


class WatchedLessons:
    """Passes on to a store. A frozen one is only read, so that the order of runs does not matter."""

    def __init__(self, store: Lessons, *, frozen: bool) -> None:
        """Watch `store`."""
        self._store = store
        self._frozen = frozen
        self.learned = 0
        """Lessons that were to be kept."""
        self.credited: dict[str, bool] = {}
        """Whether each lesson that was given helped, by its id."""

    async def fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:
        """As the store's."""
        return await self._store.fitting(owner, query, most)

    async def learn(self, owner: str, found: Sequence[Lesson], occasion: str = "") -> None:
        """Note how many; a store that is not frozen keeps them."""
        self.learned += len(found)
        if not self._frozen:
            await self._store.learn(owner, found, occasion)

    async def credit(self, owner: str, outcomes: Mapping[str, bool], occasion: str = "") -> None:
        """Note whether each helped; a store that is not frozen counts it."""
        for lesson, helped in outcomes.items():
            self.credited[lesson] = self.credited.get(lesson, False) or helped
        if not self._frozen:
            await self._store.credit(owner, outcomes, occasion)

    async def check(self) -> None:
        """As the store's."""
        await self._store.check()

    async def all(self, owner: str) -> list[Lesson]:
        """As the store's."""
        return await self._store.all(owner)

    async def edit(self, owner: str, lesson_id: str, *, when: str | None = None, advice: str | None = None) -> Lesson:
        """As the store's, unless it is frozen.

        Raises:
            GemsConfigError: it is frozen, or the owner has no such lesson.
        """
        self._check_not_frozen(lesson_id)
        return await self._store.edit(owner, lesson_id, when=when, advice=advice)

    async def delete(self, owner: str, lesson_id: str) -> None:
        """As the store's, unless it is frozen.

        Raises:
            GemsConfigError: it is frozen, or the owner has no such lesson.
        """
        self._check_not_frozen(lesson_id)
        await self._store.delete(owner, lesson_id)

    def _check_not_frozen(self, lesson_id: str) -> None:
        if self._frozen:
            raise GemsConfigError(f"lesson {lesson_id!r} is only read here: the store is frozen for a measurement")
