"""What an exported file takes and gives: one description, read from the file itself, for everything that shows it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfransfer.tasks.task import PROBABILITIES

TITLE = "what the files take and give"


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        name: Its name in the file.
        shape: Its shape; None for a dimension of any size.
        dtype: NumPy's name of its type, or "string".
        scale: Of a quantized output, the step between two integers; 0 for others.
        zero_point: The integer that stands for 0.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def text(self) -> str:
        """Name, type and shape, such as `images: uint8 (n, 224, 224, 3)`."""
        sides = ", ".join("n" if side is None else str(side) for side in self.shape)
        return f"{self.name}: {self.dtype} ({sides}{',' if len(self.shape) == 1 else ''})"

    @property
    def is_pixels(self) -> bool:
        """Whether these are pictures of one size."""
        return len(self.shape) == 4 and self.dtype != "string"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, and the range of the numbers in it where that is fixed."""
        values: dict[str, Any] = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}
        if self.is_pixels:
            values |= {"range": [0, 255]}
        if self.scale:
            values |= {"scale": self.scale, "zero_point": self.zero_point}
        return values


@dataclass(frozen=True)
class Signature:
    """One way to call a file.

    Attributes:
        input: What it takes.
        output: What it gives.
        name: Its name, of a SavedModel, which has several.
    """

    input: Tensor
    output: Tensor
    name: str = ""

    @property
    def takes(self) -> str:
        """What to put in, in words."""
        if self.input.is_pixels:
            height, width = self.input.shape[1:3]
            return (
                f"RGB pictures of {height} x {width} pixels, values 0 to 255, not scaled or normalized: preprocessing "
                "is inside the file"
            )
        return "JPEG, PNG, BMP or GIF files of any size, upright" if self.input.name == "encoded" else "texts in UTF-8"

    @property
    def gives(self) -> str:
        """What comes out, in words."""
        what = "probabilities from 0 to 1" if self.output.name == PROBABILITIES else "numbers in the unit of the labels"
        order = f"{what}, in the order of labels.txt"
        if not self.output.scale:
            return order
        zero = self.output.zero_point
        return f"{order}: {self.output.scale:g} x {f'(value - {zero})' if zero else 'value'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `exports.json` and the manifest."""
        values = {"input": self.input.to_dict(), "output": self.output.to_dict()}
        return ({"name": self.name} if self.name else {}) | values | {"takes": self.takes, "gives": self.gives}


def read_signatures(values: Iterable[Mapping[str, Any]]) -> tuple[Signature, ...]:
    """The signatures in plain values, as `replay` gives them or as `Signature.to_dict`."""
    return tuple(Signature(_tensor(one["input"]), _tensor(one["output"]), str(one.get("name", ""))) for one in values)


def _tensor(values: Mapping[str, Any]) -> Tensor:
    scale, zero = float(values.get("scale", 0.0)), int(values.get("zero_point", 0))
    return Tensor(values["name"], tuple(values["shape"]), values["dtype"], scale, zero)


def signature_table(exports: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A table of what files take and give, without those of earlier versions, which have no record of it.

    Args:
        exports: Measurements of each file, by format; see `Export.to_dict`.

    Returns:
        Its `columns`; its `rows`, one for each signature; and sentences that explain them, each once, as `words`.
    """
    rows: list[list[str]] = []
    inputs: dict[str, None] = {}
    outputs: dict[str, None] = {}
    for name, export in exports.items():
        for one in read_signatures(export.get("signatures", ())):
            rows.append([f"{name} {one.name}".strip(), one.input.text, one.output.text])
            inputs[f"{one.input.name}: {one.takes}"] = None
            outputs[f"{one.output.name}, {one.output.dtype}: {one.gives}"] = None
    return {"columns": ["format", "input", "output"], "rows": rows, "words": [*inputs, *outputs]}
