"""Ways to find the lesson that fits a text: the one in use, and the simpler ones that it has to beat."""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gems.core.ports import Lesson
from gems.memory.embedding import StaticEmbedding
from gems.memory.likeness import Likeness, whole

Scores = NDArray[np.float64]
"""One row a query, one column a lesson; higher is better."""
Finder = Callable[[Sequence[Lesson], Sequence[str]], Scores]
"""From (lessons, queries) to scores."""

_WORD: Final = re.compile(r"\w+")
_BUCKETS: Final = 4096
_GRAMS: Final = (3, 4, 5)
_RANK_SHIFT: Final = 60


def full_text(lessons: Sequence[Lesson], queries: Sequence[str]) -> Scores:
    """BM25 over the stems of words, as SQLite's FTS5 has it, for any word of a query."""
    scores = np.zeros((len(queries), len(lessons)))
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE lessons USING fts5(words, tokenize = 'porter unicode61')")
        connection.executemany("INSERT INTO lessons (rowid, words) VALUES (?, ?)", enumerate(map(whole, lessons)))
        for row, query in enumerate(queries):
            any_word = " OR ".join(f'"{word}"' for word in _words(query)) or '""'
            found = connection.execute("SELECT rowid, -bm25(lessons) FROM lessons WHERE words MATCH ?", (any_word,))
            for column, score in found:
                scores[row, column] = score
    return scores


def letters(lessons: Sequence[Lesson], queries: Sequence[str]) -> Scores:
    """Cosines of hashed words and runs of 3 to 5 letters, weighted by how rare they are among the lessons."""
    kept = np.stack([_hashed(whole(lesson)) for lesson in lessons])
    asked = np.stack([_hashed(query) for query in queries])
    rarity = np.log((1 + len(lessons)) / (1 + (kept > 0).sum(axis=0))) + 1
    return _unit(np.sqrt(asked) * rarity) @ _unit(np.sqrt(kept) * rarity).T


def vectors(lessons: Sequence[Lesson], queries: Sequence[str]) -> Scores:
    """Cosines of the embedding that GEMS uses, and nothing else."""
    embedding = StaticEmbedding()
    scores: Scores = (embedding.vectors(queries) @ embedding.vectors([whole(it) for it in lessons]).T).astype(
        np.float64
    )
    return scores


def likeness(lessons: Sequence[Lesson], queries: Sequence[str]) -> Scores:
    """What GEMS uses."""
    compared = Likeness(StaticEmbedding())
    return np.array([compared.to_text(lessons, query) for query in queries])


def fused(lessons: Sequence[Lesson], queries: Sequence[str]) -> Scores:
    """Full text and vectors by reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""
    both = [finder(lessons, queries) for finder in (full_text, vectors)]
    ranks = [(-scores).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") for scores in both]
    scores: Scores = np.sum([1 / (_RANK_SHIFT + 1 + rank) for rank in ranks], axis=0)
    return scores


FINDERS: Final[Mapping[str, Finder]] = {
    "full text (BM25, stems)": full_text,
    "hashed words and letters": letters,
    "vectors": vectors,
    "vectors and situations (in use)": likeness,
    "full text and vectors": fused,
}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _hashed(text: str) -> Scores:
    counts = np.zeros(_BUCKETS)
    for word in _words(text):
        padded = f"<{word}>"
        grams = (padded[start : start + size] for size in _GRAMS for start in range(len(padded) - size + 1))
        for gram in (f"={word}", *grams):
            counts[zlib.crc32(gram.encode()) % _BUCKETS] += 1
    return counts


def _unit(rows: Scores) -> Scores:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
