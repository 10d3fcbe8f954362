"""The process that fetches a version."""

import os
from pathlib import Path

from server.worker.alias import NAME
from server.worker.channel import Channel
from server.worker.frames import Kind
from server.worker.spec import DownloadSpec
from tests.support.models import SavedModels
from tests.support.processes import Processes


def test_it_ends_only_when_it_has_been_heard(
    processes: Processes, saved: SavedModels, tmp_path: Path
) -> None:
    with (tmp_path / "output").open("wb") as output:
        forked = processes.fork("download", f"{NAME}.download:run", output.fileno())
    forked.channel.setblocking(True)
    channel = Channel(forked.channel)
    spec = DownloadSpec(
        load_uri=str(saved.saying("one")), directory=str(tmp_path / "release"), registered=False
    )
    channel.send(Kind.START, *spec.parts())
    said = channel.receive()
    assert said is not None
    assert said[0] is Kind.READY
    assert Path(bytes(said[1][0]).decode(), "MLmodel").exists()
    # A gateway that is busy then sees both at once, and would take it for lost.
    os.kill(forked.child.pid, 0)
    assert not forked.child.ended.done()
    channel.close()
    assert processes.exit_code(forked) == 0
