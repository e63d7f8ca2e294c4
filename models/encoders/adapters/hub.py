"""Models of the Hugging Face hub: one commit of a repository, downloaded once, never its code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from latentlake.errors import ConfigError, MissingExtraError

WANTED: Final = ("*.json", "*.txt", "*.safetensors")
"""Configurations, vocabularies and weights. No Python and no pickle is downloaded."""

UNWANTED: Final = ("onnx/*", "openvino/*")
"""Copies of the weights in other formats."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_EXTRA: Final = "-c constraints.txt -e '.[transformers]'"


def hub_folder(repo: str, revision: str | None) -> Path:
    """Return the folder of a model in the hub's cache, downloaded where it is not there yet.

    A commit that is there whole is taken without a request. Place, mirror, token and offline mode
    are huggingface_hub's own: `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.

    Args:
        repo: "organisation/model".
        revision: the commit, 40 hexadecimal digits.

    Raises:
        ConfigError: no commit is named (the message has the present one, if the hub tells it), the
            hub has none of it, or cannot be reached and the cache does not have it whole.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    except ModuleNotFoundError as error:
        raise MissingExtraError("a model of the hub", "huggingface_hub", _EXTRA) from error
    if revision is None or _COMMIT.fullmatch(revision) is None:
        raise ConfigError(_unpinned(repo, revision))
    disable_progress_bars()
    try:
        found = hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
        )
    except errors.RevisionNotFoundError as error:
        raise ConfigError(f"the hub's model '{repo}' has no commit {revision}.") from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"the hub has no model '{repo}' that you may read: check the name; for a private or "
            "gated one set HF_TOKEN."
        ) from error
    except errors.HFValidationError as error:
        raise ConfigError(f"repo = '{repo}' is no name of a model: organisation/model.") from error
    except (OSError, errors.HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model '{repo}' at {revision[:12]} is not whole in the cache and cannot be had: "
            f"{reason} ... On a machine without a connection give its folder as path."
        ) from error
    return Path(found)


def _unpinned(repo: str, revision: str | None) -> str:
    """Say that a commit is needed, and which one is meant now where the hub answers."""
    import huggingface_hub as hub

    wish = revision or "main"
    try:
        commit = hub.HfApi().model_info(repo, revision=wish, timeout=10).sha
    except Exception as error:  # noqa: BLE001  offline, unknown, refused: the advice stays
        told = f" (asked, the hub said: {' '.join(str(error).split())[:120]})"
        return _needs_commit(repo, wish, f"the commit's 40 digits{told}")
    return _needs_commit(repo, wish, f'options = {{ repo = "{repo}", revision = "{commit}" }}')


def _needs_commit(repo: str, wish: str, write: str) -> str:
    return (
        f"model '{repo}': '{wish}' moves when its owners change the model, and vectors of two "
        f"states must not meet. Write {write}."
    )
