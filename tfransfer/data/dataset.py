"""The dataset that users work with: an index with a notebook display."""

from dataclasses import dataclass

from tfransfer.data.index import SPLITS, Index
from tfransfer.display.html import Gallery, table
from tfransfer.tasks.task import find_task


@dataclass(frozen=True)
class Dataset(Index):
    """Pictures or texts with labels, each in one split; the value that `load_data` returns. See `Index` for fields."""

    def show(self, count: int = 12, split: str = "train", seed: int = 0) -> Gallery:
        """Random examples with their labels, shown in a notebook.

        Args:
            count: Number of examples.
            split: The split to draw from.
            seed: Seed of the draw.
        """
        from tfransfer.data.show import gallery  # here, because it imports TensorFlow

        return gallery(self, count, split, seed)

    def _repr_html_(self) -> str:
        counts = self.counts()
        rows = [[name, *(counts[split][name] for split in SPLITS)] for name in self.classes]
        return table(repr(self), ["class", *SPLITS], rows)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(self.split(name))}" for name in SPLITS)
        skipped = sum(issue.set_aside for issue in self.issues)
        classes = find_task(self.task).in_words(self.classes)
        return f"Dataset({str(self.root)!r}: {classes}; {sizes}; {skipped} skipped)"
