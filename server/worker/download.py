"""What runs in the process that fetches a version.

It ends when that is done: downloading leaves threads behind, and where there are several, nothing
can be forked.
"""

import socket

from .channel import Channel
from .frames import Kind
from .loading import fetch
from .process import become_nice, end_with_gateway, prepare_process, report_failure, settle_in
from .spec import DownloadSpec


def run(descriptors: list[int]) -> None:
    """Fetch what the gateway names, and say where it lies.

    Args:
        descriptors: The channel to the gateway, and what becomes standard output and error.
    """
    channel, output = descriptors
    prepare_process(output)
    gateway = Channel(socket.socket(fileno=channel))
    end_with_gateway(gateway)
    if (told := gateway.receive()) is None:
        return
    spec = DownloadSpec.of(told[1])
    settle_in(spec.directory)
    become_nice()
    try:
        path = fetch(spec)
    except BaseException as error:
        report_failure(gateway, error, spec.directory)
    else:
        gateway.send(Kind.READY, path.encode())
        # Until that is read: of a process that has ended, nothing counts.
        gateway.receive()
