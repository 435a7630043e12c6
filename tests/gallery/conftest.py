"""The forms of a gallery that keep one contract: each test with the fixture ``uri`` runs for all of them.

A server of Milvus is named by RGCN_JAX_MILVUS=HOST:PORT; .ci/milvus starts one.
"""

import os
import uuid

import pytest

from rgcn_jax.gallery import device_search, embedded


@pytest.fixture(
    params=[
        "embedded",
        "small segments",
        "device",
        pytest.param("milvus lite", marks=pytest.mark.slow),
        pytest.param("milvus server", marks=pytest.mark.slow),
    ]
)
def uri(request, tmp_path, monkeypatch):
    if request.param == "small segments":
        monkeypatch.setattr(embedded, "SEGMENT_BYTES", 1000)  # 25 entries
    if request.param == "device":
        monkeypatch.setattr(device_search, "has_accelerator", lambda: True)  # JAX, on the CPU
    if request.param == "milvus lite":
        pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
        yield str(tmp_path / "gallery.db")
        release(tmp_path / "gallery.db")
    elif request.param == "milvus server":
        if not (server := os.environ.get("RGCN_JAX_MILVUS")):
            pytest.skip("RGCN_JAX_MILVUS does not name a server of Milvus")
        name = f"test_{uuid.uuid4().hex}"
        yield f"milvus://{server}/{name}"
        import pymilvus  # after the question whether there is a server: it takes seconds

        client = pymilvus.MilvusClient(f"http://{server}")
        for collection in list(client.list_collections()):  # pyright: ignore
            if collection.startswith(name):
                client.drop_collection(collection)
    else:
        yield str(tmp_path / "gallery")


def release(uri):
    """Ends Milvus Lite in this process, so that another may open the file."""
    if str(uri).endswith(".db"):
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(str(uri))
