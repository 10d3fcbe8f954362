"""Threads for packing and unpacking: the event loop must not wait for it.

They are few, and none else uses them: what clients send can't hold up anything but this.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="packing")


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
    """Call a function in a thread, and bring what it returns or raises."""
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(_pool, lambda: function(*args, **kwargs))
