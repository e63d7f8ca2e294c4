"""The one door to the lake's files: `open_store` finds the store that a root names.

Code asks a store by name. Where files travel as addresses (a path of this machine or an `s3://`
URL, as Delta lists them), `readable`, `open_dataset` and `store_of` take those.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.stores.base import Store, StoredFile
from data.stores.local import LocalStore
from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    import pyarrow.dataset as ds

__all__ = [
    "LocalStore",
    "Store",
    "StoredFile",
    "is_remote",
    "open_dataset",
    "open_store",
    "readable",
    "store_of",
]

_S3 = "s3://"


def is_remote(address: str) -> bool:
    """Tell whether an address is on S3 rather than on this machine."""
    return address.startswith(_S3)


def open_store(root: str) -> Store:
    """Return the store at a root; nothing is read yet.

    Args:
        root: a folder, or `s3://bucket/prefix`.

    Raises:
        ConfigError: another scheme, or characters that Delta cannot carry.
        MissingExtraError: S3, and its optional package is not installed.
    """
    if "%" in root:
        # delta-rs decodes percent signs in paths and then looks in another place.
        raise ConfigError(f"lake root '{root}': a percent sign cannot be part of it.")
    if is_remote(root):
        from data.stores.s3 import S3Store

        return S3Store(root)
    if "://" in root:
        raise ConfigError(f"lake root '{root}': a lake is in a folder or at s3://bucket/prefix.")
    return LocalStore(Path(root))


def store_of(address: str | Path) -> tuple[Store, str]:
    """Return the store that an address is in, and the file's name there."""
    place = str(address)
    if is_remote(place):
        bucket, _, key = place.removeprefix(_S3).partition("/")
        return open_store(f"{_S3}{bucket}"), key
    return LocalStore(Path(place).parent), Path(place).name


def readable(address: str | Path) -> Any:
    """Return what `pyarrow.parquet` reads an address from."""
    if not is_remote(str(address)):
        return address
    from data.stores.connection import connect

    return connect().filesystem().open_input_file(str(address).removeprefix(_S3))


def open_dataset(
    addresses: Sequence[str], schema: pa.Schema, partitioning: ds.Partitioning | None = None
) -> ds.Dataset:
    """Open Parquet files of one store as one dataset."""
    import pyarrow.dataset as ds

    filesystem, paths = None, list(addresses)
    if paths and is_remote(paths[0]):
        from data.stores.connection import connect

        filesystem = connect().filesystem()
        paths = [path.removeprefix(_S3) for path in paths]
    return ds.dataset(
        paths, schema=schema, format="parquet", partitioning=partitioning, filesystem=filesystem
    )
