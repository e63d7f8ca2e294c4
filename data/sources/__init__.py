"""Sources: configured places of images, texts and vectors, listed and read as a stream."""

from data.sources.reading import Source, open_source
from data.sources.records import BadRecord, FileEntry, Record, VectorBytes, bad_record, path_of

__all__ = [
    "BadRecord",
    "FileEntry",
    "Record",
    "Source",
    "VectorBytes",
    "bad_record",
    "open_source",
    "path_of",
]
