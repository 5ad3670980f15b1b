"""The service's address, and limits on requests, so that none of them can exhaust the machine."""

import math
from dataclasses import dataclass, fields

from tfransfer.errors import SettingError

HOST, PORT = "127.0.0.1", 8501
# Full-size bodies that may be in memory at one time; smaller ones are bounded by the number of requests.
_WHOLE_BODIES = 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a service; all are above zero.

    Attributes:
        body_mb: Size of a request's body, in MB of 1,000,000 bytes.
        body_seconds: Time that a client has to send its body.
        megapixels: Pixels of a picture, read from its header before it is decoded.
        work_megapixels: Work of decoding the pictures of one request, in millions of pixels of a GIF. A pixel of a
            large JPEG, which is decoded at reduced size, counts for a twentieth, of a progressive one for half, of a
            PNG for 0.6, of a WebP for 1.5.
        decode_seconds: Time for decoding the pictures of one request, looked at between pictures.
        characters: Length of a text.
        all_characters: Length of all texts of a request.
        instances: Pictures or texts in one request.
        requests: Requests that are received, wait or are answered at one time; further ones get status 503.
        connections: Open connections, idle ones included.
    """

    body_mb: float = 20
    body_seconds: float = 30
    megapixels: float = 50
    work_megapixels: float = 50
    decode_seconds: float = 2
    characters: int = 100_000
    all_characters: int = 500_000
    instances: int = 64
    requests: int = 64
    connections: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise SettingError(f"the limit {field.name} must be above zero; it is {value!r}.")

    @property
    def body_bytes(self) -> int:
        """Size of a request's body in bytes."""
        return int(self.body_mb * 1_000_000)

    @property
    def held_bytes(self) -> int:
        """Size of all bodies that are in memory at one time."""
        return _WHOLE_BODIES * self.body_bytes

    @property
    def pixels(self) -> int:
        """Pixels of a picture."""
        return int(self.megapixels * 1_000_000)
