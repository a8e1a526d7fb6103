"""Environment variables for the duration of a block, and the settings that are read from them."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables while the block runs. The settings are read again in the block and after it."""
    from chalicelib import settings

    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        settings.current.cache_clear()
        try:
            yield
        finally:
            patch.undo()
            settings.current.cache_clear()


@contextlib.contextmanager
def sql_environment(url: str) -> Iterator[None]:
    """Turn SQL on while the block runs, and close the connections that the read model opened in it."""
    from chalicelib.extras.sql import read_model

    with environment(SQL_URL=url):
        read_model.client.cache_clear()
        try:
            yield
        finally:
            read_model.client().dispose()
            read_model.client.cache_clear()
