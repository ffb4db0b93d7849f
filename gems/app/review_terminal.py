"""A person at the terminal, asked what to make of a plan or a round."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console
from rich.text import Text

from gems.app.answering import Draft
from gems.app.question_view import show_question
from gems.app.terminal import one_line, printable
from gems.app.waiting import Question
from gems.core.errors import GemsConfigError

_PLAN_HELP: Final = (
    ("Enter", "draw this"),
    ("prompt TEXT", "draw TEXT instead; prompt 2 TEXT is for the second"),
    ("drop r3", "do not check r3"),
    ("add QUESTION", "check this too: a question that is answered yes when the picture is right"),
)
_ROUND_HELP: Final = (
    ("Enter", "go on"),
    ("accept", "take the best picture as it is"),
    ("r3=met", "the critic was wrong about the best picture; 2b:r3=unmet about 2b; words after it say why"),
    ("2b", "this picture is the best"),
    ("prompt TEXT", "draw TEXT next"),
)
_COMMON_HELP: Final = (
    ("say TEXT", "a word to the model that chooses what changes"),
    ("undo", "forget what you entered"),
    ("stop", "end here; gems resume goes on one day"),
    ("Ctrl-D", "leave the question open"),
)
_NUMBERED: Final = re.compile(r"(\d+)\s+(.+)", re.DOTALL)
_PICTURE: Final = re.compile(r"\d+(?:[a-z]|\.\d+)")

Read = Callable[[str, str], str]
"""From what is shown before the line, and what stands in it already, to the line.

Raises:
    EOFError: there is no more.
    KeyboardInterrupt: Ctrl-C.
"""


class Person(Protocol):
    """Who is asked while a run waits."""

    def answer(self, question: Question) -> dict[str, Any] | None:
        """The answer as the graph takes it; None leaves the question open."""
        ...

    def agrees(self, sentence: str) -> bool:
        """Whether to go on all the same."""
        ...


def person_at_terminal(console: Console, path: Callable[[str], Path | str], *, as_json: bool) -> Person | None:
    """The person, where there is a terminal to talk at. `path` says where an artifact lies."""
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return TerminalPerson(console, path)


class TerminalPerson:
    """Asks on the terminal. What does not fit is explained, and asked again."""

    def __init__(self, console: Console, path: Callable[[str], Path | str], read: Read | None = None) -> None:
        """Show on `console`; lines come from `read` (default: the terminal)."""
        self._console = console
        self._path = path
        self._read = read or _read_line

    def answer(self, question: Question) -> dict[str, Any] | None:
        """The answer; None after Ctrl-D or Ctrl-C."""
        show_question(question, self._console, self._path)
        self._help(question)
        draft = Draft(question)
        with _ctrl_c_raises():
            while True:
                try:
                    line = self._read("> ", "").strip()
                    if line == "undo":
                        draft = Draft(question)
                        self._say("All forgotten.")
                    elif line in ("?", "help"):
                        self._help(question)
                    elif line in ("", "approve", "accept", "stop"):
                        return draft.answer(line or "approve")  # type: ignore[arg-type]
                    else:
                        self._say(self._enter(question, draft, line))
                except GemsConfigError as error:
                    self._say(f"{error}.", "yellow")
                except UnicodeDecodeError:
                    self._say("That is not text of this terminal's encoding.", "yellow")
                except (EOFError, KeyboardInterrupt):
                    self._console.print()
                    return None

    def agrees(self, sentence: str) -> bool:
        """Whether to go on all the same; no, unless that is said."""
        self._say(sentence, "yellow")
        with _ctrl_c_raises():
            try:
                return self._read("Go on all the same? [y/N] ", "").strip().lower() in ("y", "yes")
            except (EOFError, KeyboardInterrupt, UnicodeDecodeError):
                self._console.print()
                return False

    def _enter(self, question: Question, draft: Draft, line: str) -> str:
        """Note what a line says, and answer in words."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if "=" in word:
            return draft.overrule(word, rest)
        if not rest and _PICTURE.fullmatch(word):
            return draft.best(word)
        if word == "prompt":
            return self._prompt(question, draft, rest)
        notes = {"say": draft.feedback, "drop": draft.drop, "add": draft.add, "best": draft.best}
        if word not in notes:
            raise GemsConfigError(f"{one_line(word, 40)!r} is not understood; ? shows what can be entered")
        return notes[word](rest)

    def _prompt(self, question: Question, draft: Draft, rest: str) -> str:
        numbered = _NUMBERED.fullmatch(rest) if question.is_plan else None
        if numbered:
            return draft.prompt(numbered[2], int(numbered[1]))
        if rest:
            return draft.prompt(rest)
        best = question.best
        before = question.value["prompts"][0] if question.is_plan else best["prompt"] if best else ""
        return draft.prompt(self._read("prompt: ", before))

    def _help(self, question: Question) -> None:
        self._console.print()
        for entry, meaning in (*(_PLAN_HELP if question.is_plan else _ROUND_HELP), *_COMMON_HELP):
            self._console.print(Text.assemble((f"  {entry:<13}", "bold"), (meaning, "dim")), soft_wrap=True)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"  {printable(text)}", style), soft_wrap=True)


def _read_line(shown: str, prefilled: str) -> str:
    # It only has to be loaded for `input` to let a line be edited; Windows has none, and needs none.
    with suppress(ImportError):
        import readline

        if prefilled:
            readline.set_startup_hook(lambda: readline.insert_text(prefilled))
        try:
            return input(shown)
        finally:
            readline.set_startup_hook()
    return input(shown)


@contextmanager
def _ctrl_c_raises() -> Iterator[None]:
    """Ctrl-C ends the reading of a line. The event loop's own handler would only note it, and wait for the line."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
