"""HTML without scripts for notebooks: tables, and galleries of captioned images."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from tfransfer.display.numbers import number_text

MOST_ROWS = 30


def picture_data(pixels: np.ndarray, side: int = 0, quality: int = 82) -> str:
    """Pixels (height, width, 3), uint8, as the data URL of a JPEG, at most `side` pixels wide and high."""
    picture = Image.fromarray(pixels)
    if side:
        picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], most: int = MOST_ROWS) -> str:
    """A table with a title; a long one is cut after `most` rows, and says how many more there are."""
    head = "".join(f'<th scope="col" style="text-align:left">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(number_text(cell))}</td>' for cell in row) + "</tr>"
        for row in rows[:most]
    )
    more = f"<p>and {len(rows) - most:,} more</p>" if len(rows) > most else ""
    return f"<div><p>{escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"


@dataclass(frozen=True)
class Card:
    """One example in a gallery.

    Attributes:
        caption: Lines under the images.
        pictures: URL and alternative text of each image.
        text: The example's text; empty for an image.
    """

    caption: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...] = ()
    text: str = ""

    def _html(self) -> str:
        images = "".join(
            f'<img src="{escape(source)}" alt="{escape(description)}" style="width:11em;margin:0 .3em 0 0">'
            for source, description in self.pictures
        )
        text = f'<blockquote dir="auto" style="max-width:40em">{escape(self.text)}</blockquote>' if self.text else ""
        lines = "<br>".join(escape(line) for line in self.caption)
        return (
            '<figure style="display:inline-block;vertical-align:top;margin:0 1em 1em 0">'
            f'{images}{text}<figcaption style="max-width:23em;overflow-wrap:anywhere">{lines}</figcaption></figure>'
        )


@dataclass(frozen=True)
class Gallery:
    """Examples as a notebook shows them; elsewhere `str` gives their captions.

    Attributes:
        title: One line above the examples.
        cards: The examples.
    """

    title: str
    cards: tuple[Card, ...]

    def _repr_html_(self) -> str:
        return f"<div><p>{escape(self.title)}</p>{''.join(card._html() for card in self.cards)}</div>"

    def __repr__(self) -> str:
        return "\n".join([self.title, *("  " + ", ".join(filter(None, (*c.caption, c.text))) for c in self.cards)])
