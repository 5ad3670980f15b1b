"""All ways to make a head, by the names that a recipe gives them."""

from tfransfer.methods.heads.adam import Adam
from tfransfer.methods.heads.linear_probe import LinearProbe
from tfransfer.methods.heads.method import HeadMethod

METHODS: dict[str, HeadMethod] = {method.name: method for method in (Adam(), LinearProbe())}


def head_method(name: str) -> HeadMethod:
    """The method that `recipe.head.method` chooses; the recipe refuses unknown names."""
    return METHODS[name]
