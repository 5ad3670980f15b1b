"""The command line. TensorFlow is imported only by commands that need it, after their arguments are parsed."""

import os
import sys

import click

from tfransfer import __version__
from tfransfer.cli.bases import bases
from tfransfer.cli.cache import cache
from tfransfer.cli.check import check
from tfransfer.cli.evaluate import evaluate
from tfransfer.cli.export import export, verify
from tfransfer.cli.lr import lr
from tfransfer.cli.predict import predict
from tfransfer.cli.report import report
from tfransfer.cli.serve import serve
from tfransfer.cli.sweep import sweep
from tfransfer.cli.train import train
from tfransfer.display.terminal import visible
from tfransfer.errors import SettingError, TransferError
from tfransfer.system.interface import command_line
from tfransfer.system.signals import Stopped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tfransfer")
def cli() -> None:
    """Transfer learning for Keras and TensorFlow: photos or texts in, a fine-tuned, checked model out.

    To try it without data of your own or a network: tfransfer train digits. It writes a run's folder,
    saved_models/digits, which is RUN in the other commands. `tfransfer COMMAND --help` explains a command. Exit codes:
    0 done, 1 failed, 2 wrong usage.
    """


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    standard_output = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # class names may hold what the terminal cannot show
    try:
        with command_line():
            cli.main(prog_name="tfransfer", standalone_mode=False)
    except SettingError as error:
        _fail(error, 2)
    except TransferError as error:
        _fail(error, 1)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except OSError as error:
        _fail(error, 1)
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error if isinstance(error, Stopped) else error.__cause__  # click turns it into an Abort
        why = str(cause) if isinstance(cause, Stopped) else "stopped before the end."
        click.echo(visible(f"tfransfer: {why}"), err=True)
        sys.exit(1)
    finally:
        sys.stdout = standard_output


def _fail(error: Exception, code: int) -> None:
    click.echo(visible(f"tfransfer: error: {error}"), err=True)
    sys.exit(code)


for command in (bases, cache, check, evaluate, export, lr, predict, report, serve, sweep, train, verify):
    cli.add_command(command)
