"""Finding a learning rate for data and a base: from what a user has to a suggestion, its figures and its plot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfransfer.data.loading import open_data
from tfransfer.display.html import table
from tfransfer.display.listeners import listeners
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import SettingError
from tfransfer.evaluation import plots
from tfransfer.methods.heads.registry import head_method
from tfransfer.recipe import Recipe
from tfransfer.runs.settings import make_recipe
from tfransfer.search.rate_finder import RATES, Tried, lowest, try_rates
from tfransfer.system.keywords import keywords_of
from tfransfer.training.opening import open_session, suited

SETTING = "head.learning_rate"


@dataclass(frozen=True)
class FoundRate:
    """What head phases at several learning rates reach on validation.

    Attributes:
        tried: One for each rate, from the lowest.
        headline: Name of the metric that is their score.
        base: Name of the base.
    """

    tried: tuple[Tried, ...]
    headline: str
    base: str

    @property
    def suggestion(self) -> float:
        """The rate with the lowest validation loss."""
        return lowest(self.tried).rate

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates that were tried, from the lowest."""
        return tuple(one.rate for one in self.tried)

    @property
    def losses(self) -> tuple[float, ...]:
        """The validation loss of each."""
        return tuple(one.loss for one in self.tried)

    @property
    def option(self) -> str:
        """What takes the suggestion on the command line."""
        return f"--set {SETTING}={self.suggestion:g}"

    @property
    def at_an_end(self) -> bool:
        """Whether the suggestion is the lowest or the highest rate that was tried: a better one may lie beyond."""
        return self.suggestion in (self.rates[0], self.rates[-1])

    def plot(self) -> plots.Plot:
        """Validation loss over the learning rate; a matplotlib figure that shows itself in a notebook."""
        return plots.learning_rates(self.rates, self.losses, self.suggestion)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        tried = [
            {"learning_rate": t.rate, "validation_loss": t.loss, f"validation_{self.headline}": t.score,
             "epoch": t.epoch} for t in self.tried
        ]  # fmt: skip
        return {"suggestion": self.suggestion, "option": self.option, "base": self.base, "tried": tried}

    def __repr__(self) -> str:
        return f"FoundRate({self.suggestion:g} for the head on {self.base}, of {len(self.tried)} rates)"

    def _repr_html_(self) -> str:
        rows = [[f"{t.rate:g}", f"{t.loss:.3f}", f"{t.score:.3f}", t.epoch] for t in self.tried]
        return table(repr(self), ["learning rate", "validation loss", self.headline, "epoch"], rows)


def find_learning_rate(
    data: Any,
    base: str | None = None,
    *,
    rates: Sequence[float] | None = None,
    recipe: Recipe | None = None,
    reading: dict[str, Any] | None = None,
    progress: Progress | bool | None = None,
    say: Say | None = None,
    **settings: Any,
) -> FoundRate:
    """Try learning rates for the head phase: a whole head phase at each, all at once, on kept features.

    What is extracted for it serves the training. Rates are judged by their loss on the validation split.

    Args:
        data: From `load_data`, or what it takes.
        base: Name of a base; None leaves it to the recipe.
        rates: Which to try, two or more; None takes 13 from 1e-5 to 0.1.
        recipe: As for `train`: batch size, epochs, seed and so on matter to the rate. None takes the defaults.
        reading: How the data is read, where it is not loaded yet: arguments of `load_data` by name.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told in one line what was found and decided.
        **settings: Put over the recipe, as for `train`: `weights`, `head_epochs`, `image_size`, ...

    Raises:
        SettingError: A setting is wrong, or the head is solved and not trained.
        TransferError: Something is wrong with the data or the weights.
    """
    progress, say = listeners(progress, say)
    chosen = make_recipe(recipe, settings | ({"base": base} if base else {}), keywords=keywords_of(find_learning_rate))
    rates = require_rates(RATES if rates is None else rates)
    if len(rates) < 2:
        raise SettingError(f"rates must be two or more, to choose one; they are {', '.join(f'{r:g}' for r in rates)}.")
    method = head_method(chosen.head.method)
    if not method.by_steps:
        raise SettingError(f"head.method = {method.name!r} has no learning rate: leave it out, or train with it.")
    dataset = open_data(data, reading, progress=progress, say=say)
    head_only = replace(chosen.fine_tune, epochs=0, unfreeze=None)
    session = open_session(dataset, suited(replace(chosen, fine_tune=head_only), dataset), say)
    session.decide_caching(say, always=True)
    say(session.caching.plan.sentence())
    session.caching.extract(session.recipe, progress, say)
    return FoundRate(tuple(try_rates(session, rates, progress)), session.task.headline, session.base.name)


def require_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Learning rates from the lowest, each once.

    Raises:
        SettingError: One is not above 0, or above 1000.
    """
    for rate in rates:
        if not 0 < rate <= 1e3:
            raise SettingError(f"a learning rate must be above 0 and at most 1000; it is {rate:g}.")
    return tuple(sorted(set(map(float, rates))))
