"""A TF-Hub module (a reusable SavedModel) as a layer of Keras 3, which tensorflow_hub's own KerasLayer is not."""

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
from tfransfer.base.hub.files import copy_module, find_module, keep_module, module_hash
from tfransfer.base.hub.reading import load_saved_model, read_facts, run_module, variables_of
from tfransfer.errors import BaseModelError, SettingError

# Modules that this process has loaded, by hash: a copy of a layer (clone_model) finds its module here.
_LOADED: dict[str, Path] = {}


@keras.saving.register_keras_serializable(package="tfransfer")
class HubLayer(keras.layers.Layer):
    """A reusable SavedModel as a layer, for pictures (batch, size, size, 3) or texts (batch,).

    It computes in float32 whatever the global dtype policy says. A `.keras` file of a model with it holds the
    SavedModel, which is a program: it is loaded with `safe_mode=False` only.
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
            path: What `find_module` takes: a folder, an archive, a URL. It is loaded, so its author must be trusted.
            trainable: Whether the variables that the module calls trainable are trained.
            pattern: Regular expression that the names of those trained must contain; None for all.
            statistics: "frozen" calls a module that has moving statistics for inference even in training, and leaves
                BatchNorm's gamma and beta alone; "trained" does neither.
            module: What `get_config` wrote of the module, in place of `path`; Keras gives it.
            **kwargs: As for any Keras layer.

        Raises:
            SettingError: The pattern finds no variable that could be trained, or `statistics` is another word.
            BaseModelError: The module cannot be loaded, or takes or gives something else.
        """
        super().__init__(trainable=trainable, **{**kwargs, "dtype": "float32"})
        if statistics not in (FROZEN, TRAINED):
            raise SettingError(f'statistics is "{FROZEN}" or "{TRAINED}"; it is {statistics!r}.')
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
        self._hold(variables)
        self.built = True
        self._pattern = self._checked(pattern)
        self._choose()
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.facts.input_shape))

    def _load(self, folder: Path) -> tuple[ModuleFacts, list[tf.Variable]]:
        created: list[tuple[Any, str]] = []

        def note(make: Callable[..., Any], **kwargs: Any) -> Any:
            variable = make(**kwargs)
            created.append((variable, kwargs.get("name") or variable.name))
            return variable

        self._module, self._folder = load_saved_model(folder, note), folder
        facts, variables = read_facts(self._module, module_hash(folder), created)
        _LOADED[facts.hash] = folder
        return facts, variables

    def _hold(self, variables: Sequence[tf.Variable]) -> None:
        """Make the module's variables weights of this layer, without copying them."""
        self._held = []
        with keras.name_scope(self.name):
            for facts, variable in zip(self.facts.variables, variables, strict=True):
                name = facts.name.replace("/", "_")
                held = keras.Variable(variable, trainable=facts.trainable, dtype=facts.dtype, name=name)
                held._value = variable  # the oldest Kerases that we support copy it
                self._track_variable(held)
                self._held.append(held)

    def _attach(self, folder: Path) -> None:
        """Load the module onto the weights that this layer has already, whose values stay.

        An optimizer may know these weights by now: it is built before a file's assets are read.
        """
        values = [held.value.numpy() for held in self._held]
        waiting: dict[str, deque[tf.Variable]] = defaultdict(deque)
        for facts, held in sorted(zip(self.facts.variables, self._held, strict=True), key=lambda pair: pair[0].created):
            waiting[facts.name].append(held.value)

        def reuse(make: Callable[..., Any], **kwargs: Any) -> Any:
            queue = waiting[kwargs.get("name") or ""]
            return queue.popleft() if queue else make(**kwargs)

        module = load_saved_model(folder, reuse)
        if any(a is not b.value for (a, _), b in zip(variables_of(module), self._held, strict=True)):
            raise BaseModelError(
                f"the SavedModel {folder} has other variables than the layer {self.name} was saved with."
            )
        for held, value in zip(self._held, values, strict=True):
            held.value.assign(value)
        self._module, self._folder = module, folder

    @property
    def trainable(self) -> bool:
        """Whether any variables are trained; which, `pattern` says."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._set_trainable(value)

    def _set_trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        self._choose()

    def _choose(self) -> None:
        for held, chosen in zip(self._held, self._chosen(self._pattern), strict=True):
            held.trainable = self._trainable and chosen

    def _chosen(self, pattern: str | None) -> list[bool]:
        may = zip(self.variable_names, self.facts.trained(self._statistics), strict=True)
        return [trained and (pattern is None or re.search(pattern, name) is not None) for name, trained in may]

    def _checked(self, pattern: str | None) -> str | None:
        if pattern is not None and not any(self._chosen(pattern)):
            may = [n for n, chosen in zip(self.variable_names, self._chosen(None), strict=True) if chosen]
            known = f"Its variables that can be trained are called {', '.join(may[:3])} ..." if may else self.why_frozen
            raise SettingError(f"the pattern {pattern!r} finds no variable of the module that can be trained. {known}")
        return pattern

    def unfreeze(self, pattern: str | None = None) -> None:
        """Train the variables whose names contain a pattern, and no others.

        Args:
            pattern: Regular expression; None for all that the module calls trainable.

        Raises:
            SettingError: It finds none.
        """
        self._pattern = self._checked(pattern)
        self._set_trainable(True)  # an assignment of what is there already would not arrive

    @property
    def pattern(self) -> str | None:
        """What the names of trained variables contain; None for all."""
        return self._pattern

    @property
    def variable_names(self) -> tuple[str, ...]:
        """The names that the SavedModel gives its variables, in the order of `weights`."""
        return tuple(facts.name for facts in self.facts.variables)

    @property
    def resources(self) -> Any:
        """The loaded module: with it as attribute, a tf.Module is saved with its tables and assets."""
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
        """Side of the pictures in pixels; None for texts and where the module takes any."""
        return None if self.reads_text else self.facts.input_shape[0]

    @property
    def feature_size(self) -> int:
        """Length of the feature vector, or channels of the feature map."""
        return self.facts.output_shape[-1] or 0

    @property
    def can_train(self) -> bool:
        """Whether there is a variable that could be trained."""
        return not self.why_frozen

    @property
    def why_frozen(self) -> str:
        """One sentence on why nothing could be trained; empty where something could."""
        if self.facts.signature:
            return "The module has signatures only (a TF1 Hub module or a plain SavedModel), which serve inference."
        if not any(v.trainable for v in self.facts.variables):
            return "The module names no variables that could be trained."
        return (
            "" if any(self._chosen(None)) else "The only variables that could be trained are BatchNorm's, kept frozen."
        )

    def block_patterns(self) -> list[tuple[str, str]]:
        """(block, regular expression for its variables' names) from the lowest to the highest, as `name_blocks`."""
        return name_blocks([v.name for v in self.facts.variables if v.trainable])

    def top_pattern(self, count: int) -> str:
        """The pattern that unfreezes the `count` highest blocks; a SettingError where there are fewer."""
        return top_pattern(self.block_patterns(), count)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The module's features, float32; its regularization losses are added while it is trained."""
        if self._module is None:
            raise BaseModelError(
                f"the layer {self.name} was made without its SavedModel: load the .keras file that holds it with "
                "safe_mode=False, or make it with HubLayer(path)."
            )
        training = bool(training) and self.trainable
        if training and not self.facts.signature:
            for loss in getattr(self._module, "regularization_losses", None) or ():
                self.add_loss(loss())
        moving = training and not (self._statistics == FROZEN and self.facts.has_statistics)
        outputs = run_module(self._module, self.facts, tf.cast(inputs, self.facts.input_dtype), moving)
        features = tf.cast(outputs[self.facts.output] if self.facts.output else tf.nest.flatten(outputs)[0], "float32")
        features.set_shape((None, *self.facts.output_shape))
        return features

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """The output's shape, known without the module."""
        return keras.KerasTensor((inputs.shape[0], *self.facts.output_shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again, but for the module itself and its folder, which another machine does not have."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "pattern": self._pattern,
            "statistics": self._statistics,
            "module": asdict(self.facts),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the layer of a config; the module comes from the file's assets, or is one that this process has loaded.

        Raises:
            BaseModelError: Keras's safe mode is on.
        """
        if in_safe_mode():
            raise BaseModelError(
                f"this file embeds a SavedModel (layer {config.get('name')!r}), which is a program that could do "
                "anything on this machine. If you trust its author, load it with safe_mode=False (Keras) or "
                "trust=True or --trust (tfransfer)."
            )
        folder = _LOADED.get(config["module"]["hash"])
        known = folder is not None and module_hash(folder) == config["module"]["hash"]
        layer = cls(folder, **{**config, "module": None}) if known else cls(**config)
        layer._may_unpack = in_safe_mode() is False
        return layer

    def save_assets(self, folder: str) -> None:
        """Copy the SavedModel into a `.keras` file, as it came."""
        if self._folder is None or module_hash(self._folder) != self.facts.hash:
            raise BaseModelError(
                f"the SavedModel {self._folder or ''} is no longer as it was loaded, so the model cannot be saved with "
                "it: put it back where it was."
            )
        copy_module(self._folder, Path(folder))

    def load_assets(self, folder: str) -> None:
        """Load the SavedModel of a `.keras` file, after it was moved to where it can stay."""
        if not self._may_unpack:
            raise BaseModelError("a file's SavedModel is a program: it is loaded with safe_mode=False only.")
        if self._module is None:
            kept = keep_module(Path(folder), self.facts.hash)
            self._attach(kept)
            _LOADED[self.facts.hash] = kept
