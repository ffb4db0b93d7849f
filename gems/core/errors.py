"""What can go wrong, by who can mend it.

GemsError
├── GemsConfigError        yours to mend: the request, the settings, the files of this machine
│   └── OutOfVocabulary    the embedded engine cannot draw a word of the prompt
└── GemsRunError           the run failed
    ├── ModelOutage        a model did not answer; the same call may work later
    ├── DrawingRefused     the image model refused this prompt; another prompt may pass
    ├── BudgetSpent        a call was not made: its worst case lies beyond a limit
    ├── ArtifactCorrupt    a stored image is not what its name says
    └── StoreOutage        where images are kept did not answer; the run can be resumed when it does
"""

from __future__ import annotations

from typing import Literal

Again = Literal["free", "paid", "never"]
"""Whether the same call may be made again: the server did no work (`free`), may have done and charged it (`paid`), or a
repeat cannot help (`never`)."""


class GemsError(RuntimeError):
    """Base of all errors of this package.

    A RuntimeError, because the LangGraph server shows clients the messages of few exception types.
    """


class GemsConfigError(GemsError):
    """Bad input or settings. The message names the value and the remedy."""


class OutOfVocabulary(GemsConfigError):
    """The embedded engine cannot draw what the prompt asks for."""


class GemsRunError(GemsError):
    """The run failed through no fault of its input."""


class ModelOutage(GemsRunError):
    """A model did not answer: connection, time limit, server error."""

    def __init__(self, message: str, *, again: Again = "never", wait: float | None = None) -> None:
        """Say what happened.

        Args:
            message: For people.
            again: Whether a repeat of the call can help, and what it may cost.
            wait: Seconds after which the server wants to be asked again, if it said so.
        """
        super().__init__(message)
        self.again = again
        self.wait = wait


class DrawingRefused(GemsRunError):
    """The image model refused the prompt. Repeating it is useless; rewording it may help."""


class BudgetSpent(GemsRunError):
    """A call was not made, because its worst case lies beyond what a limit leaves. `limit` is the option's name."""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class ArtifactCorrupt(GemsRunError):
    """A stored image is missing or does not match its digest."""


class StoreOutage(GemsRunError):
    """The shared store of images did not answer: connection, time limit, server error. The same may work later."""
