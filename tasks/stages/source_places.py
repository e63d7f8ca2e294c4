"""Where the files of sources are, as a person or another program would open them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from data.sources import path_of
from data.sources.formats import format_of
from data.sources.listing import GlobPattern
from data.stores import is_remote

if TYPE_CHECKING:
    from latentlake.settings import Settings

_S3: Final = "s3://"


def base_of(settings: Settings, source: str) -> str:
    """Return the folder, or the `s3://` prefix, that a source's files are relative to."""
    configured = settings.source(source)
    place = settings.resolve(configured.uri)
    remote = is_remote(place)
    bare = place.removeprefix(_S3) if remote else place
    pattern = GlobPattern.parse(bare)
    if pattern is not None:
        return f"{_S3}{pattern.base}" if remote else str(pattern.base)
    if remote:
        single = not bare.endswith("/") and format_of(bare, configured.kind) is not None
        return f"{_S3}{PurePosixPath(bare).parent if single else bare.rstrip('/')}"
    return str(Path(bare).parent) if Path(bare).is_file() else bare


def file_place(settings: Settings, source: str, file: str) -> str:
    """Return the path or `s3://` URL of a source's file.

    Args:
        settings: where the source is.
        source: its name.
        file: relative to it, as in the table `items`.

    Returns:
        Text for the operating system: bytes that are no UTF-8 are escaped as by `os.fsdecode`.

    Raises:
        BadInputError: the name climbs out of the source.
    """
    base = base_of(settings, source)
    return f"{base}/{file}" if is_remote(base) else str(path_of(base, file))
