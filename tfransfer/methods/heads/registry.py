"""The registry of head methods, by their names in recipes."""

from tfransfer.methods.heads.adam import Adam
from tfransfer.methods.heads.linear_probe import LinearProbe
from tfransfer.methods.heads.method import HeadMethod

METHODS: dict[str, HeadMethod] = {method.name: method for method in (Adam(), LinearProbe())}


def head_method(name: str) -> HeadMethod:
    """The method with a name from `recipe.head.method`, where unknown names are already refused."""
    return METHODS[name]
