"""What a trajectory keeps: images, received drawings and replies, checkpoints, the index of runs, and the refiner's view."""

from gems.memory.artifacts import FileArtifacts
from gems.memory.database import Database, SqliteFile
from gems.memory.journal import SqlJournal
from gems.memory.ledger import SqlLedger, drawing_key
from gems.memory.png import export_png, read_png_text
from gems.memory.runs import SqlRuns

__all__ = [
    "Database",
    "FileArtifacts",
    "SqlJournal",
    "SqlLedger",
    "SqlRuns",
    "SqliteFile",
    "drawing_key",
    "export_png",
    "read_png_text",
]
