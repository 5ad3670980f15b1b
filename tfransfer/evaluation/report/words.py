"""What a report says in words: the headline with its interval, what the phases did, the facts of the run."""

from typing import Any

from tfransfer.evaluation.answers import Answers
from tfransfer.tasks.task import Task, task_of


def summary(manifest: dict[str, Any], noun: str) -> str:
    """One sentence: what was trained on what."""
    plan, sizes = manifest["plan"], sizes_of(manifest)
    told = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    on = f" on {sum(sizes.values()):,} {noun}: {told}" if sizes else ""
    instead = f" (the weights of {plan['instead_of']} are not available)" if plan.get("instead_of") else ""
    return f"{plan['base']}{instead}, trained {task_of(manifest).aim(manifest['classes'])}{on}."


def sizes_of(manifest: dict[str, Any]) -> dict[str, int]:
    """Examples in each split."""
    data = manifest["data"]
    if "sizes" in data:
        return {name: int(size) for name, size in data["sizes"].items()}
    return {name: sum(of.values()) for name, of in data.get("counts", {}).items()}


def headline(
    task: Task, split: str, noun: str, scored: dict[str, Any], answers: Answers | None
) -> dict[str, str] | None:
    """The one figure, with a 95% interval where one is available: keys value, said, interval."""
    figure, n = task.main, int(scored.get("n", 0))
    value = scored.get(figure.key)
    if not isinstance(value, int | float):
        return None
    known = (answers.targets, answers.outputs) if answers is not None and answers.split == split else (None, None)
    spread = task.interval(value, n, *known)
    return {
        "value": figure.text(value),
        "said": task.headline_words(n, split, noun),
        "interval": "" if spread is None or spread[0] == spread[1] else " to ".join(map(figure.text, spread)),
    }


def other_figures(task: Task, scored: dict[str, Any]) -> list[tuple[str, str]]:
    """(title, value) of the other metrics of a split."""
    found = [(figure.title, figure.text(scored.get(figure.key))) for figure in task.figures[1:]]
    return [(title, text) for title, text in found if text]


def phases(manifest: dict[str, Any]) -> str:
    """What fine-tuning did on validation, and which phase's model was selected, in a sentence."""
    made, kept = manifest.get("phases", {}), manifest.get("kept", "")
    figure = task_of(manifest).epoch_figure
    if "fine_tune" not in made:
        return "Only the head was trained; the base is as it was." if made else ""
    before, after = (figure.text(made.get(p, {}).get("validation", {}).get(figure.key)) for p in ("head", "fine_tune"))
    unfrozen = manifest["plan"].get("unfrozen", [])
    blocks = f" ({', '.join(unfrozen)} unfrozen)" if 0 < len(unfrozen) <= 4 else ""
    if made["fine_tune"].get("diverged"):
        return f"Fine-tuning{blocks} diverged and was rolled back: this is the head phase's model."
    figures = f" {figure.title} went from {before} to {after}" if before and after else ""
    if kept == "head":
        return (
            f"Fine-tuning{blocks} did not help on validation{':' if figures else ''}{figures}. It was rolled back: "
            "this is the head phase's model."
        )
    return f"Fine-tuning{blocks} helped: on validation{figures}." if figures else "The fine-tuned model was selected."


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
