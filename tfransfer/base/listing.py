"""List the available bases without building any."""

from dataclasses import dataclass
from typing import Any

from tfransfer.base.records import (
    BASES,
    NGRAM_BUCKETS,
    NGRAM_FEATURES,
    NGRAMS,
    WORD_COUNT,
    WORD_FEATURES,
    WORD_PIECES,
    WORDS,
    Base,
)
from tfransfer.base.weights import weights_here
from tfransfer.display.html import table


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A row of `tfransfer bases`.

    Attributes:
        name: The name that users pass.
        image_size: Default side of the input in pixels; 0 for a text base.
        smallest: Smallest side in pixels.
        features: Width of the pooled features.
        parameters: Number of weights without the top.
        weights_here: Whether its weights are on this machine.
        built_in: Whether they come with tfransfer.
    """

    name: str
    image_size: int
    smallest: int
    features: int
    parameters: int
    weights_here: bool
    built_in: bool

    @property
    def where(self) -> str:
        """Where its weights are: "built in", "here" or "to download"; "untrained" if there are none."""
        if self.name == NGRAMS:
            return "untrained"
        return "built in" if self.built_in else "here" if self.weights_here else "to download"

    def _repr_html_(self) -> str:
        return BaseList([self])._repr_html_()


class BaseList(list[Listed]):
    """A list of bases that a notebook shows as a table; so are slices of it, such as `bases()[:10]`."""

    def __getitem__(self, place: Any) -> Any:
        item = super().__getitem__(place)
        return BaseList(item) if isinstance(place, slice) else item

    def _repr_html_(self) -> str:
        columns = ["base", "pixels", "smallest", "features", "parameters", "weights"]
        rows = [[b.name, b.image_size, b.smallest, b.features, b.parameters, b.where] for b in self]
        return table("Bases, smallest first; the weights are without the top.", columns, rows, most=len(rows))


def bases() -> BaseList:
    """All bases of Keras Applications and the built-in ones, smallest first; the text bases come last."""
    texts = [
        _listed_text(WORDS, WORD_FEATURES, (WORD_COUNT + WORD_PIECES) * WORD_FEATURES + 2 * WORD_COUNT),
        _listed_text(NGRAMS, NGRAM_FEATURES, NGRAM_BUCKETS * NGRAM_FEATURES),
    ]
    return BaseList([*(_listed(base) for base in sorted(BASES.values(), key=lambda b: b.parameters)), *texts])


def _listed_text(name: str, features: int, parameters: int) -> Listed:
    return Listed(
        name=name, image_size=0, smallest=0, features=features, parameters=parameters, weights_here=True, built_in=True
    )


def _listed(base: Base) -> Listed:
    here = weights_here(base) is not None
    return Listed(
        name=base.name, image_size=base.image_size, smallest=base.family.smallest, features=base.features,
        parameters=base.parameters, weights_here=here, built_in=base.built_in,
    )  # fmt: skip
