"""Memory and time as images grow: both phases on 1,000, 4,000 and 16,000 photos, each in a process of its own.

Reports what a process holds that no file backs (RssAnon, Linux), at its highest while it trains.

    python benchmarks/growth.py PHOTOS --weights FILE --size 64
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measuring import arguments, cache, report, train


def pick(photos: Path, count: int, folder: Path) -> Path:
    """Links to `count` photos, as many of each class as it goes."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    for kind in classes:
        (folder / kind.name).mkdir(parents=True)
        for file in sorted(kind.iterdir())[: max(1, count // len(classes))]:
            (folder / kind.name / file.name).symlink_to(file.resolve())
    return folder


def anonymous_memory() -> int:
    """RssAnon of this process in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


class Watch(threading.Thread):
    """Notes the highest RssAnon."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0

    def run(self) -> None:
        """Look ten times a second."""
        while True:
            self.highest = max(self.highest, anonymous_memory())
            time.sleep(0.1)


def one(photos: Path, weights: str, size: int) -> None:
    """Train on a folder and print what was measured as one line of JSON."""
    watch = Watch()
    watch.start()
    with cache():
        found = train(photos, weights, image_size=size, head_epochs=2, fine_tune_epochs=1, batch_size=32)
    found |= {"rss_anon": watch.highest, "images": found["features"]["extract"]}
    print(json.dumps({key: found[key] for key in ("rss_anon", "images", "trained_seconds", "seconds")}))


def main() -> None:
    """Measure."""
    if os.environ.get("GROWTH_CHILD"):
        one(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
        return
    asked = arguments(__doc__, size=64, counts="1000,4000,16000")
    found = {}
    for count in map(int, asked.counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            chosen = pick(asked.photos, count, Path(folder) / "photos")
            line = subprocess.run(
                [sys.executable, __file__, str(chosen), asked.weights, str(asked.size)],
                env=os.environ | {"GROWTH_CHILD": "1"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout.splitlines()[-1]
        found[count] = json.loads(line)
        print(count, line, flush=True)
    first, last = (list(found.values())[end] for end in (0, -1))
    report({"by_images": found, "memory_ratio": round(last["rss_anon"] / first["rss_anon"], 3)}, asked.out)


if __name__ == "__main__":
    main()
