"""The head trained with Adam, in the training loop."""

from tfransfer.methods.heads.method import HeadMethod


class Adam(HeadMethod):
    """Gradient steps over the epochs of the head phase, with the settings of its section of the recipe."""

    name = "adam"
    by_steps = True

    def in_words(self, epochs: int) -> str:
        """The number of epochs."""
        return f"{epochs} epochs for the head"
