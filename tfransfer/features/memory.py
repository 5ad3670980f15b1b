"""What was measured and converted on this machine, remembered between runs."""

import hashlib
import json
import math
import os
import platform
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfransfer.errors import WriteError
from tfransfer.system.cache_home import cache_home
from tfransfer.system.files import file_hash, read_json, whole, write_json


class EngineMemory:
    """Rates, the choice and the converted file of one frozen part on this machine.

    Args:
        facts: What decides them; plain values.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        text = json.dumps(facts | {"machine": machine()}, sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self._file = cache_home() / "engines" / f"{name}.json"
        self._converted = self._file.with_suffix(".tflite")
        self.values = self._load()

    def _load(self) -> dict[str, Any]:
        try:
            said = read_json(self._file)
        except (OSError, ValueError):
            return {}
        rates = said.get("rates", {}) if isinstance(said, dict) else None
        known = isinstance(rates, dict) and all(_is_rate(value) for value in rates.values())
        return said if known and all(_is_rate(said.get(name, 1.0)) for name in ("decoding", "trained")) else {}

    @property
    def rates(self) -> dict[str, float]:
        """Pictures a second, by engine, of what was measured before."""
        return dict(self.values.get("rates", {}))

    def keep(self, **values: Any) -> None:
        """Remember values; where the cache cannot be written they are measured again the next time."""
        self.values |= values
        try:
            write_json(self._file, self.values)
        except (OSError, WriteError):
            return

    def converted(self) -> bytes | None:
        """The converted file, if it is there and whole."""
        try:
            if file_hash(self._converted) == self.values.get("converted"):
                return self._converted.read_bytes()
        except OSError:
            pass
        return None

    def keep_converted(self, content: bytes) -> None:
        """Keep a converted file."""
        try:
            with whole(self._converted) as temporary:
                temporary.write_bytes(content)
            self.keep(converted=file_hash(self._converted))
        except (OSError, WriteError):
            return


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def machine() -> dict[str, Any]:
    """What a measured rate depends on."""
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    return {"processor": _processor(), "cores": os.cpu_count(), "gpus": gpus}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
