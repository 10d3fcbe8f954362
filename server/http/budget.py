"""The bytes that clients have the gateway hold: one budget for all of them."""

from aiohttp import web

from server.errors import TooMuchInFlight

# What is no larger costs about what its connection does: MAX_CONNECTIONS and MAX_QUEUE bound it.
UNCOUNTED = 16 * 1024


class Budget:
    """Bytes in flight: bodies as they come in, are unpacked, wait and are answered, and answers
    until clients have taken them.

    A body or an answer gets at most half of what all others leave, so that something is left for
    smaller ones however many large ones there are ("dynamic thresholds", Choudhury and Hahne, 1998,
    with alpha = 1). Where nothing else is in flight, any one is taken.

    Args:
        limit: Most bytes.

    Attributes:
        held: How many there are.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def check(self, size: int, own: int = 0) -> None:
        """Refuse what does not fit.

        Args:
            size: Bytes in all.
            own: How many of them are held already.

        Raises:
            TooMuchInFlight: there is no room for so many.
        """
        others = self.held - own
        if size > UNCOUNTED and others and size * 2 > self.limit - others:
            raise TooMuchInFlight("this server holds as many bytes as it may")

    def hold(self, size: int = 0) -> "Hold":
        """Take so many bytes.

        Raises:
            TooMuchInFlight: there is no room for them.
        """
        hold = Hold(self)
        hold.resize(size)
        return hold

    def keep(self, size: int) -> "Hold":
        """Take so many bytes, which are there already and have their place."""
        hold = Hold(self)
        hold.force(size)
        return hold


class Hold:
    """What one body, answer or connection has of the budget.

    It is given back when nobody refers to it any more: it goes where the bytes go that it is for,
    through queues and over the ways on which they are asked again or dropped.
    """

    __slots__ = ("_budget", "_counted")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._counted = 0

    @property
    def counted(self) -> int:
        """How many bytes it has."""
        return self._counted

    def __del__(self) -> None:
        self._budget.held -= self._counted

    def resize(self, size: int) -> None:
        """Take more, or give some back.

        Raises:
            TooMuchInFlight: there is no room for so many; nothing has changed.
        """
        if size > self._counted:
            self._budget.check(size, self._counted)
        self.force(size)

    def force(self, size: int) -> None:
        """The same for bytes that are there, whether there is room or not."""
        counted = size if size > UNCOUNTED else 0
        self._budget.held += counted - self._counted
        self._counted = counted


_HOLD = web.ResponseKey("hold", Hold)


def hold_answer(response: web.StreamResponse, budget: Budget) -> None:
    """Have an answer hold what its body takes, for as long as it has it.

    Raises:
        TooMuchInFlight: there is no room for it.
    """
    if _HOLD in response:
        return
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(body, bytes) and len(body) > UNCOUNTED:
        response[_HOLD] = budget.hold(len(body))


def take_hold(response: web.StreamResponse) -> Hold | None:
    """Take from an answer what it holds, to give it to what has its body from now on."""
    hold = response.get(_HOLD)
    if hold is not None:
        del response[_HOLD]
    return hold
