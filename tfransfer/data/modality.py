"""The modality of examples, pictures or texts: its names, and what it means for each stage."""

from dataclasses import dataclass

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True)
class Modality:
    """A kind of example.

    Attributes:
        name: Its name in manifests.
        noun: An example's name in reports.
        item: An example's name in messages and on the command line.
        has_pixels: Whether examples are read from files, resized, augmented, shown and explained.
        default_exports: The formats that `train` writes where none are requested.
        form_field: The form field that the HTTP service expects, in curl's syntax.
    """

    name: str
    noun: str
    item: str
    has_pixels: bool
    default_exports: tuple[str, ...]
    form_field: str

    @property
    def nouns(self) -> str:
        """The plural of `noun`: "photos"."""
        return f"{self.noun}s"

    @property
    def unit(self) -> str:
        """What progress displays count: "images"."""
        return f"{self.name}s"


MODALITIES = {
    one.name: one
    for one in (
        Modality(IMAGE, "photo", "picture", True, ("savedmodel", "tflite"), "file=@photo.jpg"),
        Modality(TEXT, "text", "text", False, ("savedmodel",), "text=words"),
    )
}
