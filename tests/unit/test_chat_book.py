"""What is remembered of servers: through files that are missing, foreign, old or locked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems.backends.chat.abilities import Abilities
from gems.backends.chat.book import MEMORY, ServerBook

TEXT = Abilities(output="text", logprobs=False)
PLACE = ("http://localhost:8000/v1", "small")


def test_what_was_learnt_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "home" / "servers.json"
    ServerBook(path).learn(*PLACE, TEXT)
    assert ServerBook(path).find(*PLACE) == TEXT
    assert ServerBook(path).find("http://localhost:8001/v1", "small") is None
    assert ServerBook(path).find(PLACE[0], "large") is None
    assert [it.name for it in path.parent.iterdir()] == ["servers.json"]


def test_without_a_file_memory_serves() -> None:
    book = ServerBook()
    book.learn(*PLACE, TEXT)
    assert book.find(*PLACE) == TEXT


def test_two_processes_keep_each_others_entries(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    one, other = ServerBook(path), ServerBook(path)
    one.learn("http://a/v1", "m", TEXT)
    other.learn("http://b/v1", "m", TEXT)
    assert ServerBook(path).find("http://a/v1", "m") == ServerBook(path).find("http://b/v1", "m") == TEXT


def test_after_thirty_days_a_server_is_tried_anew(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    ServerBook(path, now=lambda: 1000.0).learn(*PLACE, TEXT)
    assert ServerBook(path, now=lambda: 999.0 + MEMORY).find(*PLACE) == TEXT
    assert ServerBook(path, now=lambda: 1000.0 + MEMORY).find(*PLACE) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"servers": 5}', '{"servers": {"a": 1}}', "[" * 100_000, "\x00"]
)
def test_a_foreign_file_counts_as_empty_and_is_rewritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "servers.json"
    path.write_text(text, encoding="utf-8")
    book = ServerBook(path)
    assert book.find(*PLACE) is None
    book.learn(*PLACE, TEXT)
    assert ServerBook(path).find(*PLACE) == TEXT


def test_entries_of_another_version_or_form_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    ServerBook(path).learn(*PLACE, TEXT)
    entry = json.loads(path.read_text())["servers"][0]
    others = [
        {**entry, "model": "newer", "version": 2},
        {**entry, "model": "odd", "abilities": {"output": "telepathy"}},
        {**entry, "model": "more", "key": "sk-1"},
        7,
    ]
    path.write_text(json.dumps({"servers": [*others, entry]}))
    book = ServerBook(path)
    assert [book.find(PLACE[0], model) for model in ("newer", "odd", "more", "small")] == [None, None, None, TEXT]


def test_a_file_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    book = ServerBook(tmp_path / "file" / "servers.json")
    book.learn(*PLACE, TEXT)
    assert book.find(*PLACE) == TEXT
