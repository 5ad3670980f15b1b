"""Find a learning rate for a dataset and a base, with figures and a plot."""

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
from tfransfer.runs.settings import lists_settings, make_recipe
from tfransfer.search.rate_finder import RATES, Tried, lowest, try_rates
from tfransfer.system.keywords import keywords_of
from tfransfer.training.opening import open_session, suited

SETTING = "head.learning_rate"


@dataclass(frozen=True)
class FoundRate:
    """Validation results of head phases at several learning rates.

    Attributes:
        tried: The result at each rate, lowest rate first.
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
        """The rates tried, lowest first."""
        return tuple(one.rate for one in self.tried)

    @property
    def losses(self) -> tuple[float, ...]:
        """The validation loss at each rate."""
        return tuple(one.loss for one in self.tried)

    @property
    def option(self) -> str:
        """The command line option that sets the suggestion."""
        return f"--set {SETTING}={self.suggestion:g}"

    @property
    def at_an_end(self) -> bool:
        """Whether the suggestion is the lowest or highest rate tried, so that a better one may lie beyond."""
        return self.suggestion in (self.rates[0], self.rates[-1])

    def plot(self) -> plots.Plot:
        """Plot validation loss over learning rate; the matplotlib figure displays itself in a notebook."""
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


@lists_settings
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
    """Try learning rates for the head phase: a complete head phase at each, all at once, on cached features.

    The cached features also serve later trainings. Rates are compared by their loss on the validation split.

    Args:
        data: A dataset from `load_data`, or anything that it takes.
        base: Name of a base; None takes the recipe's.
        rates: Rates to try, two or more; None takes 13 from 1e-5 to 0.1.
        recipe: As for `train`; batch size, epochs, seed and so on affect the best rate. None takes the defaults.
        reading: Arguments of `load_data` by name, if the data is not loaded yet.
        progress: Reports progress; True shows a bar, None shows one in notebooks only.
        say: Called with each line about findings and decisions.
        **settings: Override the recipe, as for `train`: `weights`, `head_epochs`, `image_size`, ...

    Raises:
        SettingError: A setting is wrong, or the head is solved in closed form and has no learning rate.
        TransferError: Something is wrong with the data or the weights.
    """
    progress, say = listeners(progress, say)
    recipe = make_recipe(recipe, settings | ({"base": base} if base else {}), keywords=keywords_of(find_learning_rate))
    rates = require_rates(RATES if rates is None else rates)
    if len(rates) < 2:
        raise SettingError(f"rates must be two or more, to choose one; got {', '.join(f'{r:g}' for r in rates)}.")
    method = head_method(recipe.head.method)
    if not method.by_steps:
        raise SettingError(f"head.method = {method.name!r} has no learning rate: leave it out, or use it in train.")
    dataset = open_data(data, reading, progress=progress, say=say)
    head_only = replace(recipe.fine_tune, epochs=0, unfreeze=None)
    session = open_session(dataset, suited(replace(recipe, fine_tune=head_only), dataset), say)
    session.decide_pooling(progress, say)
    session.decide_caching(say, always=True)
    say(session.caching.plan.sentence())
    session.caching.extract(session.recipe, progress, say)
    return FoundRate(tuple(try_rates(session, rates, progress)), session.task.headline, session.base.name)


def require_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Check learning rates; returns them sorted, without duplicates.

    Raises:
        SettingError: One is not above 0, or above 1000.
    """
    for rate in rates:
        if not 0 < rate <= 1e3:
            raise SettingError(f"a learning rate must be above 0 and at most 1000; got {rate:g}.")
    return tuple(sorted(set(map(float, rates))))
