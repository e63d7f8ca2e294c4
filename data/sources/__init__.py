"""Sources: configured places of images and texts, listed and read as a stream."""

from data.sources.reading import Source, open_source
from data.sources.records import BadRecord, FileEntry, Record, bad_record, path_of

__all__ = [
    "BadRecord",
    "FileEntry",
    "Record",
    "Source",
    "bad_record",
    "open_source",
    "path_of",
]
