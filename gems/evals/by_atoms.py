"""GenEval 2's harder prompts: those that a good image model does not get right at once."""

from __future__ import annotations

from typing import Final

from gems.evals.geneval2 import ATOMS, GenEval2Prompt, generate

EASIEST: Final = ATOMS.start
"""Atoms of the shortest prompts."""
HARDEST: Final = ATOMS.stop - 1
"""Atoms of the longest ones."""


def prompts_of(number: int, least_atoms: int, seed: int) -> list[GenEval2Prompt]:
    """That many different prompts in GenEval 2's grammar, of `least_atoms` to 10 atoms in turn."""
    wanted = [atoms for atoms in ATOMS if atoms >= least_atoms]
    turns = -(-number // len(wanted))
    return [task for task in generate(turns * len(ATOMS), seed) if task.atom_count in wanted][:number]
