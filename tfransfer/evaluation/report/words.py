"""What a report says in words: the headline with its interval, what the phases did, the facts of the run."""

from typing import Any

import numpy as np

from tfransfer.evaluation.answers import Answers
from tfransfer.evaluation.intervals import bootstrap, wilson
from tfransfer.tasks.task import HEADLINES, MULTI_LABEL, REGRESSION, SINGLE_LABEL, metric_name

_OTHERS = {
    "top5": "top-5 accuracy", "micro_f1": "micro F1", "macro_f1": "macro F1", "exact_match": "all classes right",
    "mean_prevalence": "by chance", "rmse": "RMSE", "mae": "mean absolute error", "bias": "bias",
    "log_loss": "log loss", "expected_calibration_error": "calibration error",
}  # fmt: skip
_SHARES = {"top5", "exact_match", "expected_calibration_error"}


def percent(value: float) -> str:
    """A share for people: `91.5%`."""
    return f"{100 * value:.1f}%"


def figure(value: Any) -> str:
    """A number for people, with as many digits as help."""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def summary(manifest: dict[str, Any], noun: str) -> str:
    """One sentence: what was trained on what."""
    plan, sizes = manifest["plan"], sizes_of(manifest)
    classes, task = manifest["classes"], manifest.get("task", SINGLE_LABEL)
    what = {
        SINGLE_LABEL: f"to tell {len(classes)} classes apart",
        MULTI_LABEL: f"to tell which of {len(classes)} classes apply",
        REGRESSION: f"to tell a number, {classes[0]}",
    }[task]
    told = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    on = f" on {sum(sizes.values()):,} {noun}: {told}" if sizes else ""
    instead = f" (the weights of {plan['instead_of']} could not be had)" if plan.get("instead_of") else ""
    return f"{plan['base']}{instead}, trained {what}{on}."


def sizes_of(manifest: dict[str, Any]) -> dict[str, int]:
    """Examples in each split."""
    data = manifest["data"]
    if "sizes" in data:
        return {name: int(size) for name, size in data["sizes"].items()}
    return {name: sum(of.values()) for name, of in data.get("counts", {}).items()}


def headline(
    task: str, split: str, noun: str, scored: dict[str, Any], answers: Answers | None
) -> dict[str, str] | None:
    """The one figure, with a 95% interval where one can be had: keys value, said, interval, meaning."""
    key, name, _ = HEADLINES[task]
    value, examples = scored.get(key), int(scored.get("n", 0))
    if not isinstance(value, int | float):
        return None
    if task == SINGLE_LABEL:
        low, high = wilson(round(value * examples), examples)
        return {
            "value": percent(value),
            "said": f"of {examples:,} {split} {noun} named right ({name} accuracy)",
            "interval": f"{percent(low)} to {percent(high)}",
        }
    spread = None if answers is None or answers.split != split else _spread(task, answers)
    return {
        "value": figure(float(value)),
        "said": f"{name} on {examples:,} {split} {noun}",
        "interval": "" if spread is None or spread[0] == spread[1] else f"{figure(spread[0])} to {figure(spread[1])}",
    }


def _spread(task: str, answers: Answers) -> tuple[float, float] | None:
    targets, outputs = answers.targets.astype(np.float64), answers.outputs.astype(np.float64)
    score = _r2 if task == REGRESSION else _mean_average_precision
    return bootstrap(len(targets), lambda drawn: score(targets[drawn], outputs[drawn]))


def _r2(targets: np.ndarray, outputs: np.ndarray) -> float | None:
    spread = ((targets - targets.mean()) ** 2).sum()
    return None if spread == 0 else float(1 - ((targets - outputs) ** 2).sum() / spread)


def _mean_average_precision(targets: np.ndarray, outputs: np.ndarray) -> float | None:
    """Over the classes that occur; of all classes at once, as hundreds of draws want it."""
    ranked = np.take_along_axis(targets, np.argsort(-outputs, axis=0, kind="stable"), axis=0)
    precision = np.cumsum(ranked, axis=0) / np.arange(1, len(ranked) + 1)[:, np.newaxis]
    found = ranked.sum(axis=0)
    occurs = found > 0
    return float(((precision * ranked).sum(axis=0)[occurs] / found[occurs]).mean()) if occurs.any() else None


def other_figures(scored: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, figure) of the other metrics of a split."""
    return [
        (name, percent(scored[key]) if key in _SHARES else figure(scored[key]))
        for key, name in _OTHERS.items()
        if isinstance(scored.get(key), int | float)
    ]


def phases(manifest: dict[str, Any]) -> str:
    """What fine-tuning did on validation, and which phase's model was kept, in a sentence."""
    made, kept = manifest.get("phases", {}), manifest.get("kept", "")
    key = HEADLINES[manifest.get("task", SINGLE_LABEL)].each_epoch
    name = "top-1 accuracy" if key == "top1" else metric_name(key)
    if "fine_tune" not in made:
        return "Only the head was trained; the base is as it was." if made else ""
    before, after = (_validation(made.get(phase, {}), key) for phase in ("head", "fine_tune"))
    unfrozen = manifest["plan"].get("unfrozen", [])
    blocks = f" ({', '.join(unfrozen)} unfrozen)" if 0 < len(unfrozen) <= 4 else ""
    if made["fine_tune"].get("diverged"):
        return f"Fine-tuning{blocks} diverged and was rolled back: this is the head phase's model."
    figures = f" {name} went from {before} to {after}" if before and after else ""
    if kept == "head":
        return (
            f"Fine-tuning{blocks} did not help on validation{':' if figures else ''}{figures}. It was rolled back: "
            "this is the head phase's model."
        )
    return f"Fine-tuning{blocks} helped: on validation{figures}." if figures else "The fine-tuned model was kept."


def metric_text(key: str, value: Any) -> str:
    """A metric's value for people: top-1 as a share; empty where it is not known."""
    if not isinstance(value, int | float):
        return ""
    return percent(value) if key == "top1" else figure(float(value))


def _validation(phase: dict[str, Any], key: str) -> str:
    return metric_text(key, phase.get("validation", {}).get(key))


def command(recipe: str, folder: str) -> str:
    """The command that repeats a run: the recipe's first line, where it is one."""
    first = recipe.splitlines()[0].lstrip("# ").strip() if recipe.startswith("#") else ""
    return first if first.startswith("tfransfer ") else f"tfransfer train DATA --recipe {folder}/recipe.toml"


def facts(manifest: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what is worth knowing about a run."""
    seeds, made = manifest.get("seeds", {}), manifest.get("phases", {})
    epochs = ", ".join(
        f"{phase['epochs']} {name.replace('_', '-')}" for name, phase in made.items() if "epochs" in phase
    )
    found = {
        "data": manifest["data"]["root"],
        "base": f"{plan['base']} at {plan['image_size']} pixels" if plan["image_size"] else plan["base"],
        "weights": plan.get("weights", ""),
        "unfrozen": ", ".join(plan.get("unfrozen", [])) or "nothing",
        "epochs": epochs,
        "batch": str(plan.get("batch_size", "")),
        "precision": str(plan.get("precision", "")),
        "seeds": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in seeds.items()),
        "time": f"{manifest['seconds']:.0f} s" if "seconds" in manifest else "",
    }
    return [(name, value) for name, value in found.items() if value]
