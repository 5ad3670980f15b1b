"""The late import of the pipeline: TensorFlow takes seconds to load."""

from typing import Any

from tfransfer.system.native_output import hidden_native_output


def load_pipeline() -> Any:
    """Import the pipeline, and with it TensorFlow, whose native start-up messages are kept off the terminal."""
    with hidden_native_output():
        import tensorflow  # noqa: F401  here, because --help must not wait for it
    from tfransfer import pipeline  # here, for the same reason

    return pipeline
