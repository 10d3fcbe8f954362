"""Who makes room when there are too many connections."""

import time

from server.http.budget import Budget
from server.http.clients import Clients, Limits


class Connection:
    """A connection, as far as this is about it."""

    def __init__(self) -> None:
        self.idle = True
        self.open = True

    def hang_up(self) -> None:
        self.open = False


def opened(clients: Clients, number: int) -> list[Connection]:
    connections = [Connection() for _ in range(number)]
    for connection in connections:
        clients.note_idle(connection)
    return connections


def test_the_one_that_is_idle_longest_makes_room() -> None:
    clients = Clients(Limits(connections=3), Budget(0))
    first, second, third = opened(clients, 3)
    clients.note_idle(first)
    third.idle = False
    assert [clients.make_room() for _ in range(3)] == [True, True, False]
    assert (first.open, second.open, third.open) == (False, False, True)
    assert clients.ended == {"idle": 2, "refused": 1}


def test_one_that_was_busy_can_make_room_after_its_answer() -> None:
    clients = Clients(Limits(connections=1), Budget(0))
    (connection,) = opened(clients, 1)
    connection.idle = False
    assert not clients.make_room()
    connection.idle = True
    clients.note_idle(connection)
    assert clients.make_room()


def test_one_that_is_closed_is_not_asked() -> None:
    clients = Clients(Limits(connections=1), Budget(0))
    (connection,) = opened(clients, 1)
    clients.forget(connection)
    assert not clients.make_room()
    assert connection.open


def test_a_flood_beside_ten_thousand_busy_connections_costs_little() -> None:
    clients = Clients(Limits(connections=10_000), Budget(0))
    for connection in opened(clients, 10_000):
        connection.idle = False
    started = time.process_time()
    assert not any(clients.make_room() for _ in range(10_000))
    # To look at all each time would take a hundred times as long.
    assert time.process_time() - started < 0.5
