"""What runs in the process that fetches a version.

It ends when that is done: downloading leaves threads behind, and where there are several, nothing
can be forked.
"""

import errno
import os
import socket

from . import flavors, strict_json
from .channel import Channel
from .frames import Kind
from .links import LeadsOut
from .loading import fetch
from .process import become_nice, end_with_gateway, prepare_process, report_failure, settle_in
from .protocol.errors import describe
from .spec import DownloadSpec

# What is wrong with this machine, rather than with what the artifact store says.
_OWN = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)]


def run(descriptors: list[int]) -> None:
    """Fetch what the gateway names, and say where it lies and what loading it will import.

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
        report_failure(gateway, error, spec.directory, public=_public(error))
    else:
        gateway.send(Kind.READY, path.encode(), strict_json.dumps(flavors.needed(path)))
        # Until that is read: of a process that has ended, nothing counts.
        gateway.receive()


def _public(error: BaseException) -> str:
    """What anybody may be told of an error: its message may be the artifact store's."""
    if isinstance(error, LeadsOut):
        return str(error)
    # MLflow tells of errors in its threads by their texts.
    reasons = [own for own in _OWN if own in describe(error)]
    return reasons[0] if reasons else "the files can't be fetched; the server's log says why"
