"""The likeness of texts: what the vectors tell, and what happens where their files are missing or damaged."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gems.core.errors import GemsConfigError
from gems.memory.embedding import StaticEmbedding, Vectors

EMBEDDING = StaticEmbedding()


def cosine(one: str, other: str) -> float:
    first, second = EMBEDDING.vectors([one, other])
    return float(first @ second)


def test_rows_have_length_one_or_say_nothing() -> None:
    rows = EMBEDDING.vectors(["seven acorns on a table", "", "蘋果", "🙂"])
    assert rows.shape == (4, 256)
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    assert lengths == pytest.approx([1, 0, 1, 1], abs=1e-5)
    assert EMBEDDING.vectors([]).shape == (0, 256)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("a photo in black and white", "a monochrome photograph", "three apples on a plate"),
        ("one thing under a piece of furniture", "shoes beneath a wardrobe", "a word on a sign"),
        ("watercolour painting", "an aquarelle of a harbour", "five or more of a small thing"),
    ],
)
def test_likeness_is_of_meaning_not_of_words(text: str, near: str, far: str) -> None:
    assert cosine(text, near) > cosine(text, far) + 0.05


def test_the_same_text_has_the_same_row_in_any_company() -> None:
    alone = EMBEDDING.vectors(["a red car"])[0]
    again = EMBEDDING.vectors(["something much longer than that, with many words in it", "a red car"])[1]
    assert np.array_equal(alone, again)


def test_threads_may_load_it_at_once() -> None:
    embedding, found = StaticEmbedding(), list[Vectors]()
    threads = [threading.Thread(target=lambda: found.append(embedding.vectors(["a", "b"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(rows, found[0]) for rows in found)


def test_a_missing_package_is_named_with_the_remedy() -> None:
    with pytest.raises(
        GemsConfigError, match=r"'gems_no_such_package', which is not installed: pip install .*lessons = f"
    ):
        StaticEmbedding("gems_no_such_package").vectors(["a"])


def test_damaged_files_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gems_damaged_vectors"
    for folder, name in (
        ("weights", "l2_supercat_256.safetensors"),
        ("tokenizers", "l2_supercat_tokenizer_config.json"),
    ):
        (package / folder).mkdir(parents=True)
        (package / folder / name).write_bytes(b"not it")
    (package / "__init__.py").write_text("raise RuntimeError('its code is never run')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(GemsConfigError, match=r"cannot be read .*: install it again"):
        StaticEmbedding(package.name).vectors(["a"])


def test_only_files_are_read_and_only_when_needed() -> None:
    code = (
        "import sys, gems.graph; before = {'tokenizers', 'wordllama', 'gems.memory.embedding'} & set(sys.modules)\n"
        "from gems.memory.embedding import StaticEmbedding\n"
        "StaticEmbedding().vectors(['a red car'])\n"
        "print(sorted(before), sorted({'wordllama', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] []"
