"""A model's endpoint that the tests of this folder share."""

from __future__ import annotations

import pytest
from vlm_server import VlmServer


@pytest.fixture(scope='session')
def running_server():
    server = VlmServer()
    yield server
    server.close()


@pytest.fixture
def server(running_server):
    """The endpoint, without anything of the tests before."""
    running_server.behave()
    return running_server
