"""Reports from plain values, for each task, with names that try to do harm."""

import numpy as np

from tfransfer.evaluation.answers import Answers
from tfransfer.evaluation.report.content import Content, Shown
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, find_task
from tfransfer.training.phase import FINE_TUNE, HEAD, PhaseResult

EVIL = "<script>alert(1)</script>"
KEYS = {SINGLE_LABEL: "top1", MULTI_LABEL: "average_precision", REGRESSION: "r2"}


def answers_for(task, classes, n=60):
    random = np.random.default_rng(3)
    if task == REGRESSION:
        targets = random.normal(20, 5, (n, 1))
        outputs = targets + random.normal(0, 2, (n, 1))
    elif task == MULTI_LABEL:
        targets = (random.random((n, len(classes))) > 0.6).astype(float)
        outputs = np.clip(targets * 0.4 + random.random(targets.shape) * 0.7, 0, 1)
    else:
        targets = np.eye(len(classes))[np.arange(n) % len(classes)]
        outputs = random.dirichlet(np.ones(len(classes)), n) * 0.9 + targets * min(0.4, 3 / len(classes))
    paths = tuple(f"folder/{i:03}.jpg" for i in range(n))
    points = random.random((n, 2)).astype(np.float32)
    floats = (targets.astype(np.float32), outputs.astype(np.float32))
    return Answers("test", paths, *floats, np.arange(n), points, "t-SNE")


def content_for(task=SINGLE_LABEL, classes=("daisy", "rose", "tulip"), photos=False, texts=None, **changes):
    classes = ("weight",) if task == REGRESSION else classes
    answers = answers_for(task, classes)
    key = KEYS[task]
    history = [
        {"phase": phase, "epoch": str(epoch), "loss": "0.5", key: "0.7", "val_loss": str(0.6 - epoch / 10),
         f"val_{key}": "0.8"}
        for phase in (HEAD, FINE_TUNE) for epoch in (1, 2, 3)
    ]  # fmt: skip
    phases = [
        PhaseResult(name=HEAD, history=[{"seconds": 1.0}] * 3, kept_epoch=3, validation={key: 0.8, "loss": 0.4}),
        PhaseResult(name=FINE_TUNE, history=[{"seconds": 1.0}] * 3, kept_epoch=2, validation={key: 0.9}),
    ]
    manifest = {
        "task": task, "classes": list(classes), "kept": FINE_TUNE, "seconds": 61.2,
        "phases": {phase.name: phase.to_dict() for phase in phases},
        "plan": {"base": "mini", "image_size": 96, "unfrozen": ["block_16"], "weights": "built-in"},
        "data": {"root": "photos", "kind": "text" if texts else "image", "sizes": {"train": 300, "test": 60}},
        "exports": {"tflite": {"file": "model.tflite", "bytes": 2_000_000, "pictures_compared": 16,
                               "top1_agreeing": 16, "largest_difference": 1e-6}},
        "seeds": {"seed": 0}, "versions": {"tfransfer": "0"},
    } | changes.pop("manifest", {})  # fmt: skip
    shown = tuple(
        Shown(m, answers.paths[m.position], texts[i % len(texts)] if texts else None,
              np.full((8, 8, 3), 99, np.uint8) if photos else None, np.eye(8, dtype=np.float32) if photos else None)
        for i, m in enumerate(find_task(task).most_wrong(answers.targets, answers.outputs, classes))
    )  # fmt: skip
    scored = find_task(task).score(answers.targets, answers.outputs, classes)
    given = {
        "manifest": manifest, "metrics": {"test": scored}, "history": history,
        "recipe": '# tfransfer train photos --base mini\nbase = "mini"\n', "issues": [], "folder": "my run",
        "answers": answers, "shown": shown, "heat_method": "Grad-CAM",
    }  # fmt: skip
    return Content(**given | changes)
