"""Show examples of a dataset."""

import numpy as np

from tfransfer.data.flow import pixels_of, telling_lost_pictures
from tfransfer.data.index import SPLITS, Index
from tfransfer.display.html import Card, Gallery, picture_data
from tfransfer.errors import SettingError

_SIDE = 224


def gallery(dataset: Index, count: int, split: str, seed: int) -> Gallery:
    """Random examples of a split with their labels; arguments as for `Dataset.show`.

    Raises:
        SettingError: There is no such split.
        DataError: A picture that could be read before cannot be read now.
    """
    if split not in SPLITS:
        raise SettingError(f"split must be one of {', '.join(SPLITS)}; got {split!r}.")
    members = dataset.split(split)
    drawn = np.random.default_rng(seed).permutation(len(members))[: max(0, count)]
    examples = [members[i] for i in sorted(drawn)]
    title = f"{len(examples)} of {len(members):,} {split} examples"
    captions = [(dataset.label_text(example), example.path) for example in examples]
    if not dataset.modality.has_pixels or not examples:
        return Gallery(
            title, tuple(Card(lines, (), example.text or "") for lines, example in zip(captions, examples, strict=True))
        )
    with telling_lost_pictures(dataset):
        pixels = pixels_of(dataset, examples, _SIDE)
    cards = [
        Card(lines, ((picture_data(picture), f"{lines[1]}, labelled {lines[0]}."),))
        for lines, picture in zip(captions, pixels, strict=True)
    ]
    return Gallery(title, tuple(cards))
