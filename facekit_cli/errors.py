"""Wrong usage of a command."""


class UsageError(Exception):
    """Wrong arguments: exit code 2, nothing was done.

    Attributes:
        parts: what is said: texts, and errors of the library, which `facekit_cli.words` says with the names of options.
    """

    def __init__(self, *parts: str | Exception) -> None:
        super().__init__(*parts)
        self.parts = parts

    def __str__(self) -> str:
        return "".join(map(str, self.parts))
