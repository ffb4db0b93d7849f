"""Makes a strip of a run's pictures, as the README shows it.

`python docs/strip.py docs/images/rounds.png "PROMPT" SEED` draws on the embedded engine, in a temporary home. It uses
no skills: the first prompt is then the bare request, and the loop has more to do.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.graph import open_graph
from gems.memory import FileArtifacts

SIDE, GAP, CAPTION = 300, 16, 64
INK, PAPER, GREEN, RED = "#1f2328", "#ffffff", "#1a7f37", "#cf222e"


def main(out: Path, prompt: str, seed: int) -> None:
    """Run the loop, and lay its rounds side by side with what was not met."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), profiles=dict(BUILT_IN))
        with open_graph(settings) as graph:
            thread: Any = {"configurable": {"thread_id": "strip"}}
            graph.invoke({"prompt": prompt}, thread, context={"seed": seed, "skills": []})  # type: ignore[call-overload]
            state = graph.get_state(thread).values
        store = FileArtifacts(settings.home / "artifacts")
        attempts = state["attempts"]
        strip = Image.new("RGB", (len(attempts) * (SIDE + GAP) - GAP, SIDE + CAPTION), PAPER)
        draw, font = ImageDraw.Draw(strip), ImageFont.load_default(16)
        for place, attempt in enumerate(attempts):
            left = place * (SIDE + GAP)
            with Image.open(store.path(attempt["artifact"])) as picture:
                strip.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, 0))
            unmet = [
                it["question"] for it in state["requirements"] if attempt["verdicts"][it["id"]]["verdict"] == "unmet"
            ]
            draw.text((left, SIDE + 8), f"round {attempt['round']}: {attempt['score']:.0%} met", INK, font)
            verdict = f"no: {unmet[0]}" if unmet else "every requirement is met"
            draw.text((left, SIDE + 32), fitted(verdict, font), RED if unmet else GREEN, font)
        out.parent.mkdir(parents=True, exist_ok=True)
        strip.save(out, optimize=True)
        sys.stdout.write(f"{out}: {len(attempts)} rounds, {state['stop_reason']}\n")


def fitted(text: str, font: Any) -> str:
    """The text, cut to the width of a picture."""
    while font.getlength(text) > SIDE:
        text = text.rstrip("…")[:-1] + "…"
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
