"""Sentences of a report: the headline with its interval, the result of the phases, the facts of the run."""

from typing import Any

from tfransfer.evaluation.answers import Answers
from tfransfer.tasks.task import CROSS_VALIDATED, Task, task_of


def summary(manifest: dict[str, Any], noun: str) -> str:
    """One sentence on the base, the task and the data."""
    plan, sizes = manifest["plan"], sizes_of(manifest)
    counts = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    on = f" on {sum(sizes.values()):,} {noun}: {counts}" if sizes else ""
    instead = f" (the weights of {plan['instead_of']} are not available)" if plan.get("instead_of") else ""
    return f"{plan['base']}{instead}, trained {task_of(manifest).aim(manifest['classes'])}{on}."


def sizes_of(manifest: dict[str, Any]) -> dict[str, int]:
    """Number of examples in each split."""
    data = manifest["data"]
    if "sizes" in data:
        return {name: int(size) for name, size in data["sizes"].items()}
    return {name: sum(of.values()) for name, of in data.get("counts", {}).items()}


def headline(
    task: Task, split: str, noun: str, scored: dict[str, Any], answers: Answers | None
) -> dict[str, str] | None:
    """The main metric, with a 95% interval if one is available: keys value, meaning, interval."""
    figure, n = task.main, int(scored.get("n", 0))
    value = scored.get(figure.key)
    if not isinstance(value, int | float):
        return None
    known = (answers.targets, answers.outputs) if answers is not None and answers.split == split else (None, None)
    interval = task.interval(value, n, *known)
    return {
        "value": figure.text(value),
        "meaning": task.headline_words(n, split, noun),
        "interval": task.interval_text(interval),
        "cross_validated": task.cross_validated_text(cross, n, split) if (cross := scored.get(CROSS_VALIDATED)) else "",
    }


def other_figures(task: Task, scored: dict[str, Any]) -> list[tuple[str, str]]:
    """(title, value) of the other metrics of a split."""
    figures = [(figure.title, figure.text(scored.get(figure.key))) for figure in task.figures[1:]]
    return [(title, text) for title, text in figures if text]


def phases(manifest: dict[str, Any]) -> str:
    """The effect of fine-tuning on validation and the selected phase, in a sentence."""
    results, selected = manifest.get("phases", {}), manifest.get("kept", "")
    figure = task_of(manifest).epoch_figure
    if "fine_tune" not in results:
        return "Only the head was trained; the base is unchanged." if results else ""
    validation = [results.get(phase, {}).get("validation", {}) for phase in ("head", "fine_tune")]
    before, after = (figure.text(of_phase.get(figure.key)) for of_phase in validation)
    unfrozen = manifest["plan"].get("unfrozen", [])
    blocks = f" ({', '.join(unfrozen)} unfrozen)" if 0 < len(unfrozen) <= 4 else ""
    if results["fine_tune"].get("diverged"):
        return f"Fine-tuning{blocks} diverged and was rolled back: this is the head phase's model."
    figures = f" {figure.title} went from {before} to {after}" if before and after else ""
    if figures and before == after:
        figures = f" {figure.title} stayed at {after}"
    if selected == "head":
        return (
            f"Fine-tuning{blocks} did not help on validation{':' if figures else ''}{figures}. It was rolled back: "
            "this is the head phase's model."
        )
    if figures and before == after:  # the lower loss decided, or a difference that is not shown
        return f"Fine-tuning{blocks} lowered the loss on validation;{figures}."
    return f"Fine-tuning{blocks} helped: on validation{figures}." if figures else "The fine-tuned model was selected."


def command(recipe: str, folder: str) -> str:
    """The command that repeats a run: the recipe's first line, if that is one."""
    first = recipe.splitlines()[0].lstrip("# ").strip() if recipe.startswith("#") else ""
    return first if first.startswith("tfransfer ") else f"tfransfer train DATA --recipe {folder}/recipe.toml"


def facts(manifest: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the main settings of a run."""
    seeds, results = manifest.get("seeds", {}), manifest.get("phases", {})
    epochs = ", ".join(
        f"{phase['epochs']} {name.replace('_', '-')}" for name, phase in results.items() if "epochs" in phase
    )
    values = {
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
    return [(name, value) for name, value in values.items() if value]
