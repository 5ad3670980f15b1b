"""tfransfer: transfer learning for Keras and TensorFlow. The public names, each loaded when first used."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfransfer.base.hub_layer import HubLayer
    from tfransfer.base.listing import bases
    from tfransfer.data.index import Dataset
    from tfransfer.doctor import Diagnosis, check
    from tfransfer.errors import TransferError
    from tfransfer.learning_rates import find_learning_rate
    from tfransfer.loading import load_data
    from tfransfer.pipeline import bundle, evaluate, export, export_within, predict, train, verify
    from tfransfer.recipe import Augmentation, FineTunePhase, HeadPhase, Recipe
    from tfransfer.runs import Run, load_run
    from tfransfer.serving.server import serve
    from tfransfer.stopping import Stopped
    from tfransfer.sweeping import sweep
    from tfransfer.training.devices import choose_devices

_HOMES = {
    "Augmentation": "recipe",
    "Dataset": "data.index",
    "Diagnosis": "doctor",
    "FineTunePhase": "recipe",
    "HeadPhase": "recipe",
    "HubLayer": "base.hub_layer",
    "Recipe": "recipe",
    "Run": "runs",
    "Stopped": "stopping",
    "TransferError": "errors",
    "bases": "base.listing",
    "bundle": "pipeline",
    "check": "doctor",
    "choose_devices": "training.devices",
    "evaluate": "pipeline",
    "export": "pipeline",
    "export_within": "pipeline",
    "find_learning_rate": "learning_rates",
    "load_data": "loading",
    "load_run": "runs",
    "predict": "pipeline",
    "serve": "serving.server",
    "sweep": "sweeping",
    "train": "pipeline",
    "verify": "pipeline",
}

__all__ = [
    "Augmentation",
    "Dataset",
    "Diagnosis",
    "FineTunePhase",
    "HeadPhase",
    "HubLayer",
    "Recipe",
    "Run",
    "Stopped",
    "TransferError",
    "bases",
    "bundle",
    "check",
    "choose_devices",
    "evaluate",
    "export",
    "export_within",
    "find_learning_rate",
    "load_data",
    "load_run",
    "predict",
    "serve",
    "sweep",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfransfer' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"tfransfer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
