"""What holds for all tests."""

import pytest


@pytest.fixture(autouse=True)
def _own_servers_without_proxy(monkeypatch):
    """The servers that tests start are asked directly, whatever proxy the machine has."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
