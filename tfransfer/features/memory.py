"""Engine measurements and conversions on this machine, remembered between runs."""

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
    """Rates, the chosen engine and the converted file of one frozen part on this machine.

    Args:
        facts: What they depend on, as plain values.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        text = json.dumps(facts | {"machine": machine()}, sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self._file = cache_home() / "engines" / f"{name}.json"
        self._converted = self._file.with_suffix(".tflite")
        self.values = self._load()

    def _load(self) -> dict[str, Any]:
        try:
            values = read_json(self._file)
        except (OSError, ValueError):
            return {}
        rates = values.get("rates", {}) if isinstance(values, dict) else None
        valid = isinstance(rates, dict) and all(_is_rate(value) for value in rates.values())
        return values if valid and all(_is_rate(values.get(name, 1.0)) for name in ("decoding", "trained")) else {}

    @property
    def rates(self) -> dict[str, float]:
        """Measured pictures per second, by engine."""
        return dict(self.values.get("rates", {}))

    def update(self, **values: Any) -> None:
        """Store values; if the cache cannot be written, they are measured again next time."""
        self.values |= values
        try:
            write_json(self._file, self.values)
        except (OSError, WriteError):
            return

    def converted(self) -> bytes | None:
        """The converted file; None if it is missing or damaged."""
        try:
            if file_hash(self._converted) == self.values.get("converted"):
                return self._converted.read_bytes()
        except OSError:
            pass
        return None

    def save_converted(self, content: bytes) -> None:
        """Store a converted file."""
        try:
            with whole(self._converted) as temporary:
                temporary.write_bytes(content)
            self.update(converted=file_hash(self._converted))
        except (OSError, WriteError):
            return


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def machine() -> dict[str, Any]:
    """The hardware that a measured rate depends on."""
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    return {"processor": _processor(), "cores": os.cpu_count(), "gpus": gpus}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
