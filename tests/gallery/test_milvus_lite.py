"""Milvus Lite runs a server in this process: it must not be reachable from other machines."""

import os
import socket
from pathlib import Path

import pytest

from rgcn_jax.gallery import Gallery
from tests.gallery.conftest import release
from tests.gallery.models import model

pytestmark = pytest.mark.slow
LISTEN = "0A"  # a state in /proc/net/tcp


def listening():
    """Addresses (IPv4 and IPv6) at which sockets of this process listen, as /proc/net has them."""
    mine = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            mine.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # closed meanwhile
            continue
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for columns in map(str.split, lines):
            if columns[3] == LISTEN and f"socket:[{columns[9]}]" in mine:
                found.add(columns[1].split(":")[0])
    return found


def test_it_listens_at_the_loopback_address_only(tmp_path):
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    before = listening()
    with socket.create_server(("0.0.0.0", 0)):  # so that the search itself is tested
        assert "00000000" in listening()
    gallery = Gallery.open(tmp_path / "gallery.db", model())
    try:
        assert gallery.count() == 0
        added = listening() - before
        assert added
        assert added <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    finally:
        release(tmp_path / "gallery.db")
