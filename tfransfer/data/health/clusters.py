"""What belongs together, directly or through others: a disjoint-set forest over names."""


class Clusters:
    """Names in clusters; each begins alone."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        """The name that stands for a name's cluster."""
        parent = self._parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(self, name: str, under: str) -> None:
        """Make one cluster of two names' clusters; the second's root stands for it."""
        self._parent[self.root(name)] = self.root(under)
