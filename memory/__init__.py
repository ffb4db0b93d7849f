"""What a trajectory keeps: images, received drawings, checkpoints, the index of runs, and the view the refiner reads."""

from gems.memory.artifacts import FileArtifacts
from gems.memory.ledger import SqliteLedger, drawing_key
from gems.memory.png import export_png, read_png_text
from gems.memory.runs import SqliteRuns

__all__ = ["FileArtifacts", "SqliteLedger", "SqliteRuns", "drawing_key", "export_png", "read_png_text"]
