"""tfransfer: transfer learning for Keras and TensorFlow. Public names are loaded on first use."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfransfer.base.hub.layer import HubLayer
    from tfransfer.base.listing import bases
    from tfransfer.data.dataset import Dataset
    from tfransfer.data.loading import load_data
    from tfransfer.errors import TransferError
    from tfransfer.pipeline import bundle, embed, evaluate, export, export_within, predict, predict_proba, train, verify
    from tfransfer.recipe import Augmentation, FineTunePhase, HeadPhase, Recipe
    from tfransfer.runs.doctor import Diagnosis, check
    from tfransfer.runs.run import Run, load_run
    from tfransfer.search.learning_rates import find_learning_rate
    from tfransfer.search.sweep import sweep
    from tfransfer.serving.server import serve
    from tfransfer.system.signals import Stopped
    from tfransfer.training.devices import choose_devices

_HOMES = {
    "Augmentation": "recipe",
    "Dataset": "data.dataset",
    "Diagnosis": "runs.doctor",
    "FineTunePhase": "recipe",
    "HeadPhase": "recipe",
    "HubLayer": "base.hub.layer",
    "Recipe": "recipe",
    "Run": "runs.run",
    "Stopped": "system.signals",
    "TransferError": "errors",
    "bases": "base.listing",
    "bundle": "pipeline",
    "check": "runs.doctor",
    "choose_devices": "training.devices",
    "embed": "pipeline",
    "evaluate": "pipeline",
    "export": "pipeline",
    "export_within": "pipeline",
    "find_learning_rate": "search.learning_rates",
    "load_data": "data.loading",
    "load_run": "runs.run",
    "predict": "pipeline",
    "predict_proba": "pipeline",
    "serve": "serving.server",
    "sweep": "search.sweep",
    "train": "pipeline",
    "verify": "pipeline",
}

_WITHOUT_KERAS = ("errors", "recipe", "runs.run", "system.signals")

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
    "embed",
    "evaluate",
    "export",
    "export_within",
    "find_learning_rate",
    "load_data",
    "load_run",
    "predict",
    "predict_proba",
    "serve",
    "sweep",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfransfer' has no attribute {name!r}")
    import importlib

    from tfransfer.system.keras_settings import require_usable_keras

    if _HOMES[name] not in _WITHOUT_KERAS:
        require_usable_keras()
    value = getattr(importlib.import_module(f"tfransfer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
