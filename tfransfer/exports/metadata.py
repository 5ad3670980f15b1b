"""Labels and metadata inside a LiteRT file, as read by MediaPipe Tasks and the TFLite Task Library.

The model's buffer `TFLITE_METADATA` is a flatbuffer that describes the tensors; the labels are appended to the file as
a zip archive, which interpreters ignore. The schema is `metadata_schema.fbs` of TensorFlow Lite Support. Only tables of
an image classifier are written, by hand, because the official package does not install beside a current TensorFlow.
"""

import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers

from tfransfer import __version__
from tfransfer.errors import ExportError
from tfransfer.system.files import lines, names_in_lines

LABELS_FILE = "labels.txt"
_LARGEST_LABELS = 64_000_000
_WRITTEN = "Written by tfransfer"
_NAME = "TFLITE_METADATA"
_IDENTIFIER, _PARSER = b"M001", "1.0.0"
# From the schema: the values used of its enumerations and unions.
_AXIS_LABELS, _IMAGE, _FEATURE, _RGB, _NORMALIZATION = 2, 2, 1, 1, 1
# From the schema: number of fields in each table, and positions of the fields written here.
_FILE = {"fields": 5, "name": 0, "description": 1, "type": 2}
_MODEL = {"fields": 8, "name": 0, "description": 1, "version": 2, "subgraphs": 3, "parser": 7}
_SUBGRAPH = {"fields": 10, "inputs": 2, "outputs": 3}
_TENSOR = {"fields": 7, "name": 0, "description": 1, "content": 3, "units": 4, "stats": 5, "files": 6}


def pack(path: Path, classes: Sequence[str], output: str) -> None:
    """Add labels and metadata to a LiteRT file.

    Args:
        path: The file, which is rewritten.
        classes: Class names in the order of the output.
        output: Name of the output: "probabilities" or "values".
    """
    schema = _schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    size = int(graph.tensors[graph.inputs[0]].shape[1])
    buffer = schema.BufferT()
    buffer.data = describe(size, output)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = _Aligned(path.stat().st_size + len(buffer.data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(LABELS_FILE, lines(classes))


@dataclass(frozen=True)
class Packed:
    """What a LiteRT file holds besides the model.

    Attributes:
        labels: Class names in the order of the output.
        activation: Keras's name of the operation that computes the output; empty if it is another.
    """

    labels: tuple[str, ...]
    activation: str


def unpack(path: Path) -> Packed:
    """Read what `pack` added to a LiteRT file.

    Raises:
        ExportError: It is not a LiteRT file, or was not written by tfransfer: then nobody knows what pixels it takes.
    """
    schema = _schema()
    try:
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        entries = [model.Metadata(number) for number in range(model.MetadataLength())]
        described = [model.Buffers(one.Buffer()).DataAsNumpy() for one in entries if one.Name() == _NAME.encode()]
        with zipfile.ZipFile(path) as packed:
            if packed.getinfo(LABELS_FILE).file_size > _LARGEST_LABELS:
                raise ValueError("its labels take more than 64 MB")
            labels = names_in_lines(packed.read(LABELS_FILE).decode("utf-8"))
        if not any(_WRITTEN.encode() in bytes(data) for data in described):
            raise ValueError("its metadata is not from tfransfer")
        return Packed(labels, _activation(model, schema.BuiltinOperator))
    except (ValueError, TypeError, KeyError, IndexError, struct.error, zipfile.BadZipFile, AttributeError) as error:
        raise ExportError(
            f"{path} is not a LiteRT file that tfransfer wrote, so what pixels it takes is not known: {error}."
        ) from error


def _activation(model: Any, kinds: Any) -> str:
    """The operation before the output, apart from those that only convert numbers."""
    graph = model.Subgraphs(0)
    operators = [graph.Operators(number) for number in range(graph.OperatorsLength())]
    maker = {int(output): one for one in operators for output in one.OutputsAsNumpy()}
    wanted = int(graph.OutputsAsNumpy()[0])
    for _ in operators:
        if wanted not in maker:
            break
        code = model.OperatorCodes(maker[wanted].OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind not in (kinds.QUANTIZE, kinds.DEQUANTIZE, kinds.RESHAPE):
            return {kinds.SOFTMAX: "softmax", kinds.LOGISTIC: "sigmoid"}.get(kind, "")
        wanted = int(maker[wanted].InputsAsNumpy()[0])
    return ""


class _Aligned(flatbuffers.Builder):
    """Aligns every vector to 16 bytes, as kernels expect of weights; the generated code does not."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        """Start a vector; see flatbuffers.Builder."""
        return int(super().StartVector(elemSize, numElems, max(alignment, 16)))


def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated as schema  # not available on every platform
    except ImportError:
        from tensorflow.lite.python import schema_py_generated as schema  # the same schema
    return schema


def describe(size: int, output: str) -> bytes:
    """The metadata of an image classifier, as a flatbuffer.

    Args:
        size: Side of its input in pixels.
        output: Name of its output.
    """
    build = flatbuffers.Builder(1024)
    inputs = _table(build, _TENSOR, _input(build, size))
    outputs = _table(build, _TENSOR, _output(build, output))
    subgraph = _table(
        build,
        _SUBGRAPH,
        {"inputs": ("offset", _tables(build, [inputs])), "outputs": ("offset", _tables(build, [outputs]))},
    )
    model = _table(
        build, _MODEL,
        {
            "name": _text(build, "image classifier"),
            "description": _text(build, f"{_WRITTEN}; preprocessing is in the graph."),
            "version": _text(build, __version__),
            "subgraphs": ("offset", _tables(build, [subgraph])),
            "parser": _text(build, _PARSER),
        },
    )  # fmt: skip
    build.Finish(model, file_identifier=_IDENTIFIER)
    return bytes(build.Output())


Field = tuple[str, int]


def _input(build: Any, size: int) -> dict[str, Field]:
    """An RGB picture that is not normalized: mean 0 and deviation 1."""
    square = _table(build, {"fields": 2, "width": 0, "height": 1}, {"width": ("uint", size), "height": ("uint", size)})
    image = _table(build, {"fields": 2, "space": 0, "size": 1}, {"space": ("byte", _RGB), "size": ("offset", square)})
    means, deviations = _floats(build, [0.0]), _floats(build, [1.0])
    normal = _table(
        build, {"fields": 2, "mean": 0, "std": 1}, {"mean": ("offset", means), "std": ("offset", deviations)}
    )
    unit = _table(
        build, {"fields": 2, "type": 0, "options": 1},
        {"type": ("ubyte", _NORMALIZATION), "options": ("offset", normal)},
    )  # fmt: skip
    most, least = _floats(build, [255.0]), _floats(build, [0.0])
    stats = _table(build, {"fields": 2, "max": 0, "min": 1}, {"max": ("offset", most), "min": ("offset", least)})
    return {
        "name": _text(build, "image"),
        "description": _text(build, f"RGB, {size} x {size}, each value in [0, 255]."),
        "content": ("offset", _content(build, _IMAGE, image)),
        "units": ("offset", _tables(build, [unit])),
        "stats": ("offset", stats),
    }


def _output(build: Any, output: str) -> dict[str, Field]:
    """A score for each line of the labels file."""
    file = _table(
        build, _FILE,
        {
            "name": _text(build, LABELS_FILE),
            "description": _text(build, "Class names in the order of the output."),
            "type": ("byte", _AXIS_LABELS),
        },
    )  # fmt: skip
    feature = _table(build, {"fields": 0}, {})
    return {
        "name": _text(build, output),
        "description": _text(build, f"{output.capitalize()}, one for each label."),
        "content": ("offset", _content(build, _FEATURE, feature)),
        "files": ("offset", _tables(build, [file])),
    }


def _content(build: Any, kind: int, properties: int) -> int:
    return _table(
        build,
        {"fields": 3, "type": 0, "properties": 1},
        {"type": ("ubyte", kind), "properties": ("offset", properties)},
    )


def _table(build: Any, layout: dict[str, int], values: dict[str, Field]) -> int:
    """Write a table; everything it points to must be written before."""
    build.StartObject(layout["fields"])
    add = {
        "offset": build.PrependUOffsetTRelativeSlot,
        "uint": build.PrependUint32Slot,
        "byte": build.PrependInt8Slot,
        "ubyte": build.PrependUint8Slot,
    }
    for name, (kind, value) in values.items():
        add[kind](layout[name], value, 0)
    return int(build.EndObject())


def _text(build: Any, text: str) -> Field:
    return "offset", build.CreateString(text)


def _tables(build: Any, offsets: Sequence[int]) -> int:
    build.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        build.PrependUOffsetTRelative(offset)
    return int(build.EndVector())


def _floats(build: Any, values: Sequence[float]) -> int:
    build.StartVector(4, len(values), 4)
    for value in reversed(values):
        build.PrependFloat32(value)
    return int(build.EndVector())
