"""A data set as users hold it: an index that shows itself."""

from dataclasses import dataclass

from tfransfer.data.index import SPLITS, Index
from tfransfer.display.html import Gallery, table
from tfransfer.tasks.task import find_task


@dataclass(frozen=True)
class Dataset(Index):
    """Pictures or texts with labels, each in one split; the value that `load_data` returns. See `Index` for fields."""

    def show(self, count: int = 12, split: str = "train", seed: int = 0) -> Gallery:
        """Some examples with their labels, drawn at random; a notebook shows them.

        Args:
            count: How many.
            split: Of which split.
            seed: Of the draw.
        """
        from tfransfer.data.show import gallery  # here, because it imports TensorFlow

        return gallery(self, count, split, seed)

    def _repr_html_(self) -> str:
        counts = self.counts()
        rows = [[name, *(counts[split][name] for split in SPLITS)] for name in self.classes]
        return table(repr(self), ["class", *SPLITS], rows)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(self.split(name))}" for name in SPLITS)
        aside = sum(issue.set_aside for issue in self.issues)
        what = find_task(self.task).in_words(self.classes)
        return f"Dataset({str(self.root)!r}: {what}; {sizes}; {aside} set aside)"
