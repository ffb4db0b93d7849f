"""What can go wrong, by who can mend it.

GemsError
├── GemsConfigError        yours to mend: the request, the settings, the files of this machine
│   └── OutOfVocabulary    the embedded engine cannot draw a word of the prompt
└── GemsRunError           the run failed
    ├── ModelOutage        a model did not answer; the same call may work later
    ├── DrawingRefused     the image model refused this prompt; another prompt may pass
    └── ArtifactCorrupt    a stored image is not what its name says
"""

from __future__ import annotations


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


class DrawingRefused(GemsRunError):
    """The image model refused the prompt. Repeating it is useless; rewording it may help."""


class ArtifactCorrupt(GemsRunError):
    """A stored image is missing or does not match its digest."""
