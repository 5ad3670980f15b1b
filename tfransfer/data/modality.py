"""What an example is, a picture or a text: its names, and what follows from it for every stage."""

from dataclasses import dataclass

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True)
class Modality:
    """A kind of example.

    Attributes:
        name: As manifests have it.
        noun: What reports call an example.
        item: What messages and the command line call one.
        has_pixels: Whether it has pixels: is read from a file, resized, augmented, shown and explained.
        default_exports: The formats that `train` writes where none are requested.
        form_field: What a form of the HTTP service has to hold, as curl takes it.
    """

    name: str
    noun: str
    item: str
    has_pixels: bool
    default_exports: tuple[str, ...]
    form_field: str

    @property
    def nouns(self) -> str:
        """Several of them, in a report: "photos"."""
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
