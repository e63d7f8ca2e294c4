"""What timm.data says of a model's preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def resolve_model_data_config(
    model: nn.Module,
    args: dict[str, Any] | None = None,  # noqa: ARG001  as in timm
    pretrained_cfg: dict[str, Any] | None = None,
    use_test_size: bool = False,  # noqa: ARG001
    verbose: bool = False,  # noqa: ARG001
) -> dict[str, Any]:
    given: Any = pretrained_cfg or model.pretrained_cfg
    keys = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    return {key: given[key] for key in keys}
