"""The addresses of this machine."""

import ipaddress
import socket

import psutil
import pytest


def address_of_this_machine() -> str:
    """One by which others know it: who asks there comes from there. Without one, the test is
    skipped."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not ipaddress.ip_address(one.address).is_loopback:
                return one.address
    pytest.skip("this machine has no address but loopback's")
