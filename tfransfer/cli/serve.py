"""`tfransfer serve`: serve a run over HTTP."""

from pathlib import Path

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import PATH, TRUST
from tfransfer.display.terminal import Terminal
from tfransfer.runs.run import load_run
from tfransfer.serving.limits import HOST, PORT, Limits


@click.command()
@click.argument("run", type=PATH)
@click.option("--host", default=HOST, show_default=True, help="Address to listen on; 0.0.0.0 lets other machines "
              "in, without a password.")  # fmt: skip
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--name", help="Name of the model in /v1/models/NAME:predict. [default: name of the run's folder]")
@click.option(
    "--max-body",
    type=float,
    metavar="MB",
    default=Limits.body_mb,
    show_default=True,
    help="Largest request to accept, in megabytes.",
)
@TRUST
def serve(run: Path, host: str, port: int, name: str | None, max_body: float, trust: bool) -> None:
    """Serve RUN over HTTP: a web page to try it, and a REST API.

    RUN is a run's folder. The page takes a photo, or a text for a run on texts; the API is that of TensorFlow Serving.
    Ctrl-C stops it. It needs: pip install "tfransfer[serve]"
    """
    limits = Limits(body_mb=max_body)
    loaded = load_run(run, trust)
    terminal = Terminal()
    load_pipeline()
    from tfransfer.serving.server import serve as serve_run  # here, because its model needs TensorFlow

    serve_run(loaded, host=host, port=port, name=name, limits=limits, say=terminal.say)
