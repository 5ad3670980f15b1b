"""A TF-Hub module (a reusable SavedModel) as a Keras 3 layer; tensorflow_hub's own KerasLayer only works in Keras 2."""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf
from keras.src.saving.serialization_lib import in_safe_mode  # Keras publishes it nowhere else

from tfransfer.base.hub.blocks import name_blocks, top_pattern
from tfransfer.base.hub.facts import FROZEN, TRAINED, ModuleFacts
from tfransfer.base.hub.files import cache_module, copy_module, find_module, module_hash
from tfransfer.base.hub.reading import load_saved_model, read_facts, run_module, variables_of
from tfransfer.errors import BaseModelError, SettingError
from tfransfer.system.interface import option

# Folders of the modules that this process has loaded, by hash: a cloned layer (clone_model) loads its module again.
_LOADED: dict[str, Path] = {}


@keras.saving.register_keras_serializable(package="tfransfer")
class HubLayer(keras.layers.Layer):
    """A reusable SavedModel as a layer, for pictures (batch, size, size, 3) or texts (batch,).

    It computes in float32 whatever the global dtype policy is. The `.keras` file of a model with this layer embeds the
    SavedModel, which is a program: it loads with `safe_mode=False` only.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        trainable: bool = False,
        pattern: str | None = None,
        statistics: str = FROZEN,
        module: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Load a module.

        Args:
            path: A folder, an archive or a URL, as for `find_module`. It is a program: load only what you trust.
            trainable: Whether the variables that the module marks as trainable are trained.
            pattern: Regular expression; only variables whose names match are trained. None trains all of them.
            statistics: "frozen" calls a module with moving statistics in inference mode even during training and keeps
                BatchNorm's gamma and beta frozen; "trained" does neither.
            module: The module's facts from `get_config`, in place of `path`; passed by Keras.
            **kwargs: As for any Keras layer.

        Raises:
            SettingError: The pattern matches no trainable variable, or `statistics` is neither of the two.
            BaseModelError: The module cannot be loaded, or its input or output is not supported.
        """
        super().__init__(trainable=trainable, **{**kwargs, "dtype": "float32"})
        if statistics not in (FROZEN, TRAINED):
            raise SettingError(f'statistics must be "{FROZEN}" or "{TRAINED}", not {statistics!r}.')
        self._statistics = statistics
        self._module: Any = None
        self._folder: Path | None = None
        self._may_unpack = False
        if path is not None:
            self.facts, variables = self._load(find_module(str(path)))
        elif module is not None:
            self.facts = ModuleFacts.from_config(module)
            variables = [tf.Variable(tf.zeros(v.shape, v.dtype), name=v.name) for v in self.facts.variables]
        else:
            raise SettingError("HubLayer needs the folder of a SavedModel: HubLayer(path).")
        self._adopt(variables)
        self.built = True
        self._pattern = self._check_pattern(pattern)
        self._apply_pattern()
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.facts.input_shape))

    def _load(self, folder: Path) -> tuple[ModuleFacts, list[tf.Variable]]:
        created: list[tuple[Any, str]] = []

        def record(make: Callable[..., Any], **kwargs: Any) -> Any:
            variable = make(**kwargs)
            created.append((variable, kwargs.get("name") or variable.name))
            return variable

        self._module, self._folder = load_saved_model(folder, record), folder
        facts, variables = read_facts(self._module, module_hash(folder), created)
        _LOADED[facts.hash] = folder
        return facts, variables

    def _adopt(self, variables: Sequence[tf.Variable]) -> None:
        """Track the module's variables as weights of this layer, without copying them."""
        self._module_variables = []
        with keras.name_scope(self.name):
            for facts, variable in zip(self.facts.variables, variables, strict=True):
                name = facts.name.replace("/", "_")
                weight = keras.Variable(variable, trainable=facts.trainable, dtype=facts.dtype, name=name)
                weight._value = variable  # the oldest supported Keras versions copy it
                self._track_variable(weight)
                self._module_variables.append(weight)

    def _attach(self, folder: Path) -> None:
        """Load the module onto this layer's existing weights, keeping their values.

        New weights would not do: the optimizer is built before a file's assets are read and refers to these.
        """
        values = [weight.value.numpy() for weight in self._module_variables]
        unclaimed: dict[str, deque[tf.Variable]] = defaultdict(deque)
        weights = zip(self.facts.variables, self._module_variables, strict=True)
        for facts, weight in sorted(weights, key=lambda pair: pair[0].created):
            unclaimed[facts.name].append(weight.value)

        def reuse(make: Callable[..., Any], **kwargs: Any) -> Any:
            queue = unclaimed[kwargs.get("name") or ""]
            return queue.popleft() if queue else make(**kwargs)

        module = load_saved_model(folder, reuse)
        if any(a is not b.value for (a, _), b in zip(variables_of(module), self._module_variables, strict=True)):
            raise BaseModelError(
                f"the variables of the SavedModel {folder} differ from those that the layer {self.name} was saved with."
            )
        for weight, value in zip(self._module_variables, values, strict=True):
            weight.value.assign(value)
        self._module, self._folder = module, folder

    @property
    def trainable(self) -> bool:
        """Whether any variables are trained; `pattern` selects which."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._set_trainable(value)

    def _set_trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        self._apply_pattern()

    def _apply_pattern(self) -> None:
        for weight, selected in zip(self._module_variables, self._selected(self._pattern), strict=True):
            weight.trainable = self._trainable and selected

    def _selected(self, pattern: str | None) -> list[bool]:
        candidates = zip(self.variable_names, self.facts.trained(self._statistics), strict=True)
        return [trained and (pattern is None or re.search(pattern, name) is not None) for name, trained in candidates]

    def _check_pattern(self, pattern: str | None) -> str | None:
        if pattern is not None and not any(self._selected(pattern)):
            names = [n for n, selected in zip(self.variable_names, self._selected(None), strict=True) if selected]
            known = f"Its trainable variables are called {', '.join(names[:3])} ..." if names else self.why_frozen
            raise SettingError(f"the pattern {pattern!r} matches no trainable variable of the module. {known}")
        return pattern

    def unfreeze(self, pattern: str | None = None) -> None:
        """Train only the variables whose names match a pattern.

        Args:
            pattern: Regular expression; None for all that the module marks as trainable.

        Raises:
            SettingError: It matches none.
        """
        self._pattern = self._check_pattern(pattern)
        self._set_trainable(True)  # Keras skips an assignment to `trainable` that changes nothing

    @property
    def pattern(self) -> str | None:
        """Regular expression for the names of trained variables; None for all."""
        return self._pattern

    @property
    def variable_names(self) -> tuple[str, ...]:
        """Names of the variables in the SavedModel, in the order of `weights`."""
        return tuple(facts.name for facts in self.facts.variables)

    @property
    def resources(self) -> Any:
        """The loaded module; a tf.Module with it as an attribute is saved with its tables and assets."""
        return self._module

    @property
    def input_kind(self) -> str:
        """Either "image" or "text"."""
        return "text" if self.reads_text else "image"

    @property
    def reads_text(self) -> bool:
        """Whether it takes strings."""
        return self.facts.input_dtype == "string"

    @property
    def image_size(self) -> int | None:
        """Side of the pictures in pixels; None for texts and for modules that take any size."""
        return None if self.reads_text else self.facts.input_shape[0]

    @property
    def feature_size(self) -> int:
        """Length of the feature vector, or channels of the feature map."""
        return self.facts.output_shape[-1] or 0

    @property
    def can_train(self) -> bool:
        """Whether any variable can be trained."""
        return not self.why_frozen

    @property
    def why_frozen(self) -> str:
        """One sentence on why no variable can be trained; empty if one can."""
        if self.facts.signature:
            return "The module has signatures only (a TF1 Hub module or a plain SavedModel), which are for inference."
        if not any(v.trainable for v in self.facts.variables):
            return "The module has no trainable variables."
        if any(self._selected(None)):
            return ""
        return "The module's only trainable variables are BatchNorm's, which stay frozen."

    def block_patterns(self) -> list[tuple[str, str]]:
        """(block, regular expression for its variables' names), lowest block first; see `name_blocks`."""
        return name_blocks([v.name for v in self.facts.variables if v.trainable])

    def top_pattern(self, count: int) -> str:
        """The pattern that unfreezes the `count` highest blocks; a SettingError if there are fewer."""
        return top_pattern(self.block_patterns(), count)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The module's features, float32; adds its regularization losses in training."""
        if self._module is None:
            raise BaseModelError(
                f"the layer {self.name} was created without its SavedModel: load the .keras file that embeds it with "
                "safe_mode=False, or create the layer with HubLayer(path)."
            )
        training = bool(training) and self.trainable
        if training and not self.facts.signature:
            for loss in getattr(self._module, "regularization_losses", None) or ():
                self.add_loss(loss())
        module_training = training and not (self._statistics == FROZEN and self.facts.has_statistics)
        outputs = run_module(self._module, self.facts, tf.cast(inputs, self.facts.input_dtype), module_training)
        features = tf.cast(outputs[self.facts.output] if self.facts.output else tf.nest.flatten(outputs)[0], "float32")
        features.set_shape((None, *self.facts.output_shape))
        return features

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """The output's shape; needs no loaded module."""
        return keras.KerasTensor((inputs.shape[0], *self.facts.output_shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the module's facts in place of its folder, which is local."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "pattern": self._pattern,
            "statistics": self._statistics,
            "module": asdict(self.facts),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the layer; its module is one that this process has loaded, or comes later from the file's assets.

        Raises:
            BaseModelError: Keras's safe mode is on.
        """
        if in_safe_mode():
            raise BaseModelError(
                f"this file embeds a SavedModel (layer {config.get('name')!r}), which is a program that could do "
                "anything on this machine. If you trust its author, load it with safe_mode=False (Keras) or "
                f"{option('trust', True)} (tfransfer)."
            )
        folder = _LOADED.get(config["module"]["hash"])
        known = folder is not None and module_hash(folder) == config["module"]["hash"]
        layer = cls(folder, **{**config, "module": None}) if known else cls(**config)
        layer._may_unpack = in_safe_mode() is False
        return layer

    def save_assets(self, folder: str) -> None:
        """Copy the SavedModel unchanged into a `.keras` file."""
        if self._folder is None or module_hash(self._folder) != self.facts.hash:
            raise BaseModelError(
                f"the SavedModel {self._folder or ''} was changed or moved since it was loaded, so the model cannot be "
                "saved with it: restore it."
            )
        copy_module(self._folder, Path(folder))

    def load_assets(self, folder: str) -> None:
        """Load the SavedModel of a `.keras` file from a copy in the cache, since the file's folder is temporary."""
        if not self._may_unpack:
            raise BaseModelError("the SavedModel in this file is a program: it is loaded with safe_mode=False only.")
        if self._module is None:
            cached = cache_module(Path(folder), self.facts.hash)
            self._attach(cached)
            _LOADED[self.facts.hash] = cached
