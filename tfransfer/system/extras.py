"""Optional packages."""

import importlib.util
from collections.abc import Iterable

from tfransfer.errors import SettingError

TENSORBOARD = "tensorboard"


def require_packages(packages: Iterable[str], what: str, extra: str) -> None:
    """Check that packages are installed, without importing them.

    Args:
        packages: Their names in an import.
        what: What needs them, for the message.
        extra: The extra of tfransfer that brings them.

    Raises:
        SettingError: One is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        which = "are" if len(missing) > 1 else "is"
        raise SettingError(
            f'{what} needs {" and ".join(missing)}, which {which} not installed: pip install "tfransfer[{extra}]".'
        )
