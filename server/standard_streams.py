"""Standard input, output and error, which whoever starts the server may have closed."""

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_standard_streams() -> None:
    """Open /dev/null for those that are closed (`>&-` in a shell).

    What is opened next would else get their numbers (open(2): the lowest that is free), and what is
    written to standard output would go to a client. Python leaves `sys.stdout` None then.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(_STREAMS):
        # As they are when a shell opens them.
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
