"""Errors as the pool reports them (contract 1.2): a code, then its parameters, all text."""


class ApiError(Exception):
    """A refused call: `ErrorDescription` of an RPC answer, `error_info` of a task."""

    def __init__(self, code: str, *params: object) -> None:
        super().__init__(code, *params)
        self.description = [code, *map(str, params)]

    @property
    def text(self) -> str:
        """The form of the error page: `CODE: [ p1; p2 ]` (contract 1.1)."""
        return f"{self.description[0]}: [ {'; '.join(self.description[1:])} ]"


class Gone(Exception):
    """The connection to the client ends here, without another word."""
