"""Every measured figure in the README, in docs/ and in `mini`'s model card is the one in a file of benchmarks/results/.

`QUOTES` says where each comes from; `SETTINGS` lists numbers that were not measured. A figure that is in neither is
reported, so a new one needs a result that a script of benchmarks/ has written. What a command printed stands in a block
below that command; text may quote it from there.
"""

import json
import re
from functools import cache
from pathlib import Path
from statistics import mean, median

import pytest

ROOT = Path(__file__).parent.parent
CARD, FINDER = "tfransfer/assets/mini.md", "tfransfer/search/rate_finder.py"
DOCUMENTS = ["README.md", CARD, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
DIGITS, FLOWERS = "$ tfransfer train digits", "$ tfransfer train flower_photos"

# A number with digits behind the point, of a unit, or of a total.
_UNIT = (
    r"(?:s|ms|seconds?|minutes?|hours?|points?|times|[KMG]B|epochs|%"
    r"|(?:of these )?(?:photos|pictures) (?:per|a) second)"
)
_IN_WORDS = r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|several|half an?)"
MEASURED = re.compile(
    rf"(?<![\w.\-/])(?:\d+\.\d+|\d[\d,]*(?= ?{_UNIT}(?!\w))|\d[\d,]*(?= of \d))"
    rf"|\b{_IN_WORDS} (?:seconds?|minutes?|hours?|points?|thirds)\b|\btwice\b",
)
# What "#" in a pattern of `QUOTES` stands for.
NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"


# What the results say, in the order in which a document quotes it.


def in_printed(*patterns):
    """Numbers in what a command printed."""
    return lambda printed: [float(re.search(pattern, printed).group(1)) for pattern in patterns]


def per_round(results, theirs, ours):
    """The least and the largest ratio of the guide's seconds to ours, over the rounds."""
    rounds = zip(results["rounds"]["guide"], results["rounds"]["ours"], strict=True)
    ratios = [guide[theirs] / ours(mine) for guide, mine in rounds]
    return [min(ratios), max(ratios)]


def against_the_guide(theirs, ours, seconds):
    """A row of the table of times: the guide's seconds, ours, and their ratio with its range over the rounds."""

    def values(results):
        guide, mine = results["guide_seconds"][theirs], results["our_seconds"][ours]
        return [guide, mine, guide / mine, *per_round(results, theirs, seconds)]

    return values


def steady_epoch(ours):
    """The first epoch builds the graph."""
    return median(ours["whole"]["epoch_seconds"]["fine_tune"][1:])


def top1(results, data, images, method):
    """Test top-1 of each seed."""
    return [value for name, value in results["test_top1"].items() if name.startswith(f"{data}/{images}/{method}/")]


def cells(data, method):
    """A row of the table of what transfer gains: the mean over seeds, None where nothing was measured."""
    return lambda results: [
        mean(seeds) if (seeds := top1(results, data, images, method)) else None for images in (5, 10, 20, 50, "all")
    ]


def gain(results, base, data, sizes):
    """The largest gain of fine-tuning over the head alone, in points."""
    head, tuned = ([top1(results, data, n, f"{base} {way}")[0] for n in sizes] for way in ("head", "fine-tuned"))
    return 100 * max(after - before for before, after in zip(head, tuned, strict=True))


def of_card(*measured):
    return lambda results: [top1(results, *one)[seed] for *one, seed in measured]


def gained_over_default(results):
    digits = results["runs"]["digits_mini"]
    return [100 * (digits["suggested_mean_top1"] - digits["grid_mean_top1"]["0.001"])]


def seconds_of_rates(results):
    return sorted(seed["seconds"] for run in results["runs"].values() for seed in run["seeds"])


def suggested(run, *others):
    """The suggestion's mean top-1, and other figures of a run."""
    return lambda results: [results["runs"][run][name] for name in ("suggested_mean_top1", *others)]


def versions(results):
    return [float(".".join(results["versions"][name].split(".")[:2])) for name in ("tensorflow", "keras")]


def of_two_phases(data, images):
    return of_card((data, images, "mini head", 0), (data, images, "mini fine-tuned", 0))


def transfers(results):
    """Test top-1 of both bases on all flower photos, fine-tuned."""
    return [mean(top1(results, "flowers", "all", f"{base} fine-tuned")) for base in ("mobilenet_v2", "mini")]


def engines(results):
    speeds = results["images_per_second"]
    return [speeds["keras predict"], speeds["litert"], results["litert_over_keras_predict"]]


GAIN, RATES, TIMES = "transfer_gain.json", "learning_rates.json", "phases.json"
SETS = {"digits": "digits", "CIFAR-10, 3,000 pictures": "cifar", "flower_photos": "flowers"}
METHODS = ("scratch", "mini head", "mini fine-tuned", "mobilenet_v2 head", "mobilenet_v2 fine-tuned")
FOUR = ("cifar10_mini", "flower_photos_mini", "flower_photos_mobilenet_v2", "digits_mini")
# Document, pattern ("#" is a figure, white space is one space), where the figures are, and which they are, in order.
QUOTES = [
    ("README.md", r"the training takes # s on two cores", DIGITS, in_printed(r"\((\d+) s\)\n?$")),
    ("README.md", r"took # s on two cores", FLOWERS, in_printed(r"\((\d+) s\)\n?$")),
    ("README.md", r"trained on handwriting reaches #; fine-tuning eight blocks reaches #", DIGITS,
     in_printed(r"head: selected .*top1 ([\d.]+)", r"fine-tune: selected .*top1 ([\d.]+)")),
    ("README.md", r"TensorFlow #, Keras #, the", TIMES, versions),
    ("README.md", r"\(`keras predict`; LiteRT\) \| # \| # \| # \|", "engines.json", engines),
    ("README.md", r"nothing cached yet \| # s \| # s \| # \(#, #\) \|", TIMES,
     against_the_guide("head_seconds", "head_cold", lambda ours: ours["cold"]["trained_seconds"])),
    ("README.md", r"cached by an earlier run \| # s \| # s \| # \(#, #\) \|", TIMES,
     against_the_guide("head_seconds", "head_warm", lambda ours: ours["warm"]["trained_seconds"])),
    ("README.md", r"an epoch of fine-tuning \| # s \| # s \| # \(#, #\) \|", TIMES,
     against_the_guide("fine_tune_epoch", "fine_tune_epoch", steady_epoch)),
    ("README.md", r"to the trained model \| # s \| # s \| # \(#, #\) \|", TIMES,
     against_the_guide("seconds", "trained", lambda ours: ours["whole"]["trained_seconds"])),
    ("README.md", r"checking the saved file \| \| # s \| # \(#, #\) \|", TIMES,
     lambda results: against_the_guide("seconds", "whole", lambda ours: ours["whole"]["seconds"])(results)[1:]),
    ("README.md", r"guide's test accuracy was # \(one run\)", "guide_flower_photos.json",
     lambda results: [results["test_top1"]]),
    ("README.md", r"ours # \(mean of three training seeds, # to #\)", GAIN, lambda results: [
        choose(top1(results, "flowers", "all", "mobilenet_v2 fine-tuned")) for choose in (mean, min, max)]),
    ("README.md", r"OpenVINO processes # of these photos per second", "engines.json",
     lambda results: [results["images_per_second"]["openvino"]]),
    ("README.md", r"up to # points for MobileNetV2", GAIN, lambda results: [
        gain(results, "mobilenet_v2", "flowers", (5, 10, 20, 50))]),
    *[("README.md", rf"\| {title} \| {method} " + r"\| #? ?" * 5 + r"\|", GAIN, cells(data, method))
      for title, data in SETS.items() for method in METHODS if (title, method[:9]) != ("digits", "mobilenet")],
    (CARD, r"\| digits \| fine-tuned, [^|]* \| # \|", GAIN, of_card(("digits", "all", "mini fine-tuned", 0))),
    (CARD, r"\| flower_photos \| new head alone \| # \|", GAIN, of_card(("flowers", "all", "mini head", 0))),
    (CARD, r"\| flower_photos \| fine-tuned, three seeds \| #, #, # \|", GAIN,
     of_card(*(("flowers", "all", "mini fine-tuned", seed) for seed in range(3)))),
    (CARD, r"\| CIFAR-10, 3,000 pictures \| new head alone; fine-tuned \| #; # \|", GAIN,
     of_two_phases("cifar", "all")),
    (CARD, r"\| CIFAR-10, 20 a class \| new head alone; fine-tuned \| #; # \|", GAIN, of_two_phases("cifar", 20)),
    (CARD, r"\| the same architecture from random weights \| # \|", GAIN, of_card(("cifar", 20, "scratch", 0))),
    (CARD, r"\| digits, 20 a class \| new head alone; fine-tuned \| #; # \|", GAIN, of_two_phases("digits", 20)),
    (CARD, r"\| flower_photos, 20 a class \| new head alone; fine-tuned \| #; # \|", GAIN,
     of_two_phases("flowers", 20)),
    ("docs/bases.md", r"takes # to # seconds on two busy cores once the features are cached \(# seconds", RATES,
     lambda results: [seconds_of_rates(results)[i] for i in (0, -2, -1)]),
    ("docs/bases.md", r"was # points below the best of a grid of seven rates on 3,000 pictures of CIFAR-10, # "
     r"on flower_photos \(# with MobileNetV2\) and # on digits", RATES,
     lambda results: [results["runs"][run]["points_below_the_best"] for run in FOUR]),
    ("docs/bases.md", r"where it gained # points over the default rate", RATES, gained_over_default),
    (FINDER, r"built-in base, the suggestion reached #, the grid's best the same", RATES, suggested("cifar10_mini")),
    (FINDER, r"on flower_photos # and #,", RATES, suggested("flower_photos_mini", "best_of_grid")),
    (FINDER, r"with MobileNetV2 # and the same", RATES, suggested("flower_photos_mobilenet_v2")),
    (FINDER, r"the default, # and #,", RATES, suggested("digits_mini", "best_of_grid")),
    (FINDER, r"the default #\.", RATES, lambda results: [results["runs"]["digits_mini"]["grid_mean_top1"]["0.001"]]),
    ("notebooks/01_quickstart.ipynb", r"on these flowers # on the test split, to # with `mini`", GAIN, transfers),
    ("notebooks/04_base_and_budget.ipynb", r"it reached # on the test split, and `mini` #\.", GAIN, transfers),
]  # fmt: skip
# Numbers that look like a measurement, and are a choice, a version or a property.
SETTINGS = {
    "README.md": [
        "Python 3.11 to 3.13", "ImageNet weights (9 MB)", "MobileNetV2 of 0.4 million weights",
        "80% train, 10% validation, 10% test", "its 95% interval", "so that 98% of the other predictions",
        "head, 10 epochs, nothing", "head, 10 epochs, features", "both phases, 10 + 10 epochs",
        "900 steps or 40 epochs", "Apache 2.0",
    ],
    CARD: [
        "weights are 9 MB", "at alpha 0.35", "kept as float16 (0.8 MB)", "(alpha 1.0, ImageNet weights)",
        "12 epochs at 96", "(label smoothing 0.1)", "under Apache 2.0", "slim, Apache 2.0",
    ],
    "docs/data.md": ["AVIF (with Pillow 11.3)", "1 and 1.0 are one class"],
    "docs/files.md": ["(tried with 1.2)", "20 MB", "0.00390625 x value"],
    "docs/predict.md": ["applies from 0.5 on"],
    "docs/training.md": ["every five minutes", "within a minute"],
}  # fmt: skip


@cache
def text_of(document):
    """A document without blocks of code, or a notebook's text; whitespace is one space."""
    text = (ROOT / document).read_text("utf-8")
    if document.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return " ".join(re.sub(r"(?ms)^```.*?^```$", " ", text).split())


def blocks_of(document):
    """The blocks of commands with what they printed."""
    return re.findall(r"(?ms)^```console\n(.*?)^```$", (ROOT / document).read_text("utf-8"))


@cache
def source(document, name):
    """The results in a file of benchmarks/results/, or what a command printed in the document itself."""
    if not name.startswith("$ "):
        return json.loads((ROOT / "benchmarks" / "results" / name).read_text("utf-8"))
    (printed,) = [block for block in blocks_of(document) if re.match(rf"{re.escape(name)}(?: |\n)", block)]
    return printed


def spans(pattern, text):
    return list(re.finditer(pattern.replace("#", NUMBER), text))


def check_quote(text, pattern, expected):
    """The figures that a pattern finds in a text are the expected values, rounded to as many digits."""
    (found,) = spans(pattern, text)
    shown = list(found.groups())
    assert len(shown) == len(expected)
    digits = [len(figure.partition(".")[2]) if figure else 0 for figure in shown]
    rounded = [None if value is None else f"{value:,.{n}f}" for value, n in zip(expected, digits, strict=True)]
    assert shown == rounded, f"the text has {shown}, the results have {rounded}"


def unsourced(text, patterns, settings):
    """The figures of a text that no pattern finds and that are no settings, each with the words around it."""
    covered = [found.span() for pattern in patterns for found in spans(pattern, text)]
    covered += [found.span() for found in re.finditer(r"`[^`]*`|\]\([^)]*\)", text)]
    covered += [found.span() for phrase in settings for found in re.finditer(re.escape(phrase), text)]
    return [
        f"{found.group()!r} in ...{text[max(0, found.start() - 40) : found.end() + 20]}..."
        for found in MEASURED.finditer(text)
        if not any(first <= found.start() and found.end() <= last for first, last in covered)
    ]


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: f"{Path(quote[0]).name}: {quote[1][:40]}")
def test_quoted_figure_is_the_measured_one(quote):
    document, pattern, name, values = quote
    check_quote(text_of(document), pattern, values(source(document, name)))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_measured_figure_has_a_source(document):
    patterns = [pattern for quoted, pattern, *_ in QUOTES if quoted == document]
    assert unsourced(text_of(document), patterns, SETTINGS.get(document, ())) == []


@pytest.mark.parametrize("document", SETTINGS)
def test_every_setting_is_still_there(document):
    assert [phrase for phrase in SETTINGS[document] if phrase not in text_of(document)] == []


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks_of(name)])
def test_what_was_printed_stands_below_its_command(document):
    assert [block for block in blocks_of(document) if not block.startswith("$ ")] == []


def test_another_figure_is_seen():
    check_quote("reached 0.990 of 1,111 s", "reached # of # s", [0.99043, 1110.6])
    with pytest.raises(AssertionError, match=r"the text has \['0\.989'\], the results have \['0\.994'\]"):
        check_quote("reached 0.989", "reached #", [0.9943])


@pytest.mark.parametrize(
    "text",
    ["reached 0.989 there", "took 283 s", "cost 3 to 10 points", "a third of 12%", "on 363 of 379",
     "in a minute and a half", "twice as fast", "takes two thirds", "214 of these photos per second"],
)  # fmt: skip
def test_figure_without_a_source_is_reported(text):
    assert unsourced(text, [], []) != []
    assert unsourced(text, [re.escape(text)], []) == unsourced(text, [], [text]) == unsourced(f"`{text}`", [], []) == []


def test_words_and_whole_numbers_alone_are_no_measurements():
    assert (
        unsourced("the 3,670 photos in 5 classes, in two phases, with block_14 of mobilenet_v2, as in 0.x", [], [])
        == []
    )
