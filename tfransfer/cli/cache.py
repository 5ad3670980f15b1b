"""`tfransfer cache`: show, verify or clear the cache."""

import sys
import time

import click

from tfransfer.cli.options import JSON
from tfransfer.display.terminal import Terminal
from tfransfer.features import budget
from tfransfer.system.cache_home import cache_home
from tfransfer.system.files import size_text


@click.command()
@click.argument("action", type=click.Choice(["show", "verify", "clear"]), default="show")
@JSON
def cache(action: str, as_json: bool) -> None:
    """Show (the default), verify or clear the cache of all runs.

    It holds features, converted bases and indexes of data folders; what is cleared or damaged is computed again when
    needed. The variable TFRANSFER_CACHE sets its folder. Exit code 1: verify found damaged files.
    """
    terminal = Terminal(as_json)
    {"show": _show_cache, "verify": _verify_cache, "clear": _clear_cache}[action](terminal)


def _show_cache(terminal: Terminal) -> None:
    entries = list(reversed(budget.entries()))
    rows = [
        [entry.facts.get("base", "?"), entry.facts.get("image_size", "?"), entry.facts.get("kind", "?"),
         "varied" if entry.facts.get("augment") else "clean", entry.facts.get("engine", "?"), entry.rows,
         size_text(entry.size), time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))]
        for entry in entries
    ]  # fmt: skip
    shown = [[base, pixels or "texts", *more] for base, pixels, *more in rows]
    terminal.table("", ["base", "pixels", "kind", "views", "engine", "outputs", "size", "last used"], shown)
    features, free = sum(entry.size for entry in entries), budget.room(None)
    terminal.say(
        f"{cache_home()}: {size_text(budget.size_of(cache_home()))}, of which features take {size_text(features)}; "
        f"features may take up to {size_text(free)}"
    )
    keys = ("base", "image_size", "kind", "views", "engine", "images", "size", "last_used")
    collections = [dict(zip(keys, row, strict=True)) | {"bytes": e.size} for row, e in zip(rows, entries, strict=True)]
    terminal.emit({"folder": str(cache_home()), "collections": collections})


def _verify_cache(terminal: Terminal) -> None:
    bad = budget.verify()
    for path, reason in bad:
        terminal.say(f"{path} {reason}")
    outputs = sum(entry.rows for entry in budget.entries())
    files = f"{len(bad)} damaged file{'' if len(bad) == 1 else 's'}"
    verdict = "computed again when needed" if bad else "all sizes and checksums match"
    terminal.say(f"{outputs} cached outputs, {files}: {verdict}")
    terminal.emit({"images": outputs, "damaged": [str(path) for path, _ in bad]})
    if bad:
        sys.exit(1)


def _clear_cache(terminal: Terminal) -> None:
    freed = budget.clear()
    terminal.say(f"cleared {cache_home()}: {size_text(freed)} freed")
    terminal.emit({"folder": str(cache_home()), "bytes": freed})
