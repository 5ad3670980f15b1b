"""Load a TF-Hub module: its variables, how it is called, its input and output."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfransfer.base.hub.facts import ModuleFacts, VariableFacts, output_key
from tfransfer.errors import BaseModelError
from tfransfer.system.plain_paths import plain_path

_SIGNATURES = ("default", "image_feature_vector", "serving_default")


def load_saved_model(folder: Path, creator: Callable[..., Any]) -> Any:
    """Load a module; `creator` creates its variables, see `tf.variable_creator_scope`.

    Raises:
        BaseModelError: It cannot be loaded.
    """
    tags: list[str] | None = [] if (folder / "tfhub_module.pb").exists() else None  # TF1 Hub modules have no tags
    try:
        with tf.variable_creator_scope(creator):
            return tf.saved_model.load(str(plain_path(folder)), tags=tags)
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise BaseModelError(f"the SavedModel {folder} cannot be loaded: {str(error).splitlines()[0]}") from error


def variables_of(module: Any) -> list[tuple[tf.Variable, bool]]:
    """(variable, whether the module marks it as trainable), trainable ones first."""
    if not callable(module):
        return []
    trained = list({id(v): v for v in getattr(module, "trainable_variables", None) or ()}.values())
    every = [*(getattr(module, "variables", None) or ()), *_functions(module)[0].variables]
    # Keras 2 also lists a TextVectorization's table, which is loaded as None.
    others = {id(v): v for v in every if v is not None and not any(v is t for t in trained)}
    return [(v, True) for v in trained] + [(v, False) for v in others.values()]


def _functions(module: Any) -> list[Any]:
    return list(getattr(module.__call__, "concrete_functions", None) or ())


def read_facts(
    module: Any, content: str, created: Sequence[tuple[tf.Variable, str]]
) -> tuple[ModuleFacts, list[tf.Variable]]:
    """The facts of a loaded module, and its variables in the same order.

    Args:
        module: From `load_saved_model`.
        content: Its `module_hash`.
        created: The variables that were created on loading, with their names, in order.

    Raises:
        BaseModelError: Its input is neither pictures nor texts, or its output is not features.
    """
    places = {id(variable): (place, name) for place, (variable, name) in enumerate(created)}
    variables = variables_of(module)
    known = []
    for variable, trained in variables:
        place, name = places.get(id(variable), (-1, variable.name.removesuffix(":0")))
        known.append(VariableFacts(name, tuple(variable.shape), variable.dtype.name, trained, place))
    signature, argument, spec, outputs, training = _called(module)
    key = output_key(outputs)
    shape = (outputs[key] if key else tf.nest.flatten(outputs)[0]).shape
    if shape.rank not in ((2, 4) if spec.shape.rank == 4 else (2,)) or shape[-1] is None:
        raise BaseModelError(
            "a TF-Hub base must return a feature vector, or a feature map of a picture, of known length; this module "
            f"returns {shape}."
        )
    sides, kind = tuple(spec.shape[1:]), spec.dtype.name
    facts = ModuleFacts(
        hash=content, signature=signature, argument=argument, input_shape=sides, input_dtype=kind,
        output_shape=tuple(shape[1:]), output=key, training=training, variables=tuple(known),
    )  # fmt: skip
    return facts, [variable for variable, _ in variables]


def _called(module: Any) -> tuple[str, str, tf.TensorSpec, Any, tuple[bool, ...]]:
    """How a module is called: signature, name of its argument, input, outputs, and accepted values of `training`."""
    if callable(module):
        functions = _functions(module)
        spec, function = _input(functions)
        same = [other for other in functions if _tensors(other) == _tensors(function)]
        return "", "", spec, function.structured_outputs, _training(same)
    known = [name for name in module.signatures if not name.startswith("__")]
    name = next((n for n in _SIGNATURES if n in known), known[0] if len(known) == 1 else None)
    if name is None:
        raise BaseModelError(
            f"the SavedModel is not callable and has none of the signatures {', '.join(_SIGNATURES)}; it has "
            f"{', '.join(known) or 'none'}. Use a feature vector module from TF-Hub."
        )
    spec, function = _input([module.signatures[name]])
    return name, next(iter(function.structured_input_signature[1]), ""), spec, function.structured_outputs, ()


def _training(functions: Sequence[Any]) -> tuple[bool, ...]:
    """The values of `training` that the functions accept; empty if they do not take the argument."""
    arguments = [f.function_type.parameters["training"] for f in functions if "training" in f.function_type.parameters]
    # An argument that is a tensor accepts both values.
    values = {getattr(argument.type_constraint, "value", both) for argument in arguments for both in (False, True)}
    return tuple(value for value in (False, True) if value in values)


def _tensors(function: Any) -> list[tf.TensorSpec]:
    specs = tf.nest.flatten(function.structured_input_signature)
    return [tf.TensorSpec(s.shape, s.dtype) for s in specs if isinstance(s, tf.TensorSpec) and s.dtype != tf.bool]


def _input(functions: Sequence[Any]) -> tuple[tf.TensorSpec, Any]:
    """The input, a batch of pictures or of texts, and the function that takes it as its only tensor."""
    for function in functions:
        tensors = _tensors(function)
        if len(tensors) == 1 and tensors[0].shape.rank in (1, 4):
            (spec,) = tensors
            pictures = spec.shape.rank == 4 and spec.shape[1] == spec.shape[2] and spec.shape[3] in (3, None)
            if (pictures and spec.dtype != tf.string) or (spec.shape.rank == 1 and spec.dtype == tf.string):
                return spec, function
    taken = "; ".join(str(_tensors(function)) for function in functions)
    raise BaseModelError(
        "a TF-Hub base must take pictures, (batch, size, size, 3), or texts, (batch,), alone; this module takes "
        f"{taken or 'no known input'}."
    )


def run_module(module: Any, facts: ModuleFacts, inputs: tf.Tensor, training: bool) -> Any:
    """Call a module, passing `training` if it takes it."""
    if facts.signature:
        return module.signatures[facts.signature](**{facts.argument: inputs})
    if not facts.training:
        return module(inputs)
    return module(inputs, training=training if training in facts.training else facts.training[0])
