"""Check which optional features of `chalicelib/extras` this stage has. A deployment may lack any of them."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING

from chalicelib import settings, telemetry
from chalicelib.errors import FeatureNotFoundError
from chalicelib.projections import PROJECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

_settings = settings.current()

#: The modules and packages in `chalicelib.extras` whose projections are off in this stage.
_OFF = {
    each.module.removeprefix("extras.").partition(".")[0] for each in PROJECTIONS if each not in _settings.projections
}


def has(feature: str) -> bool:
    """
    Check whether this stage has this module or package of `chalicelib.extras`. Reports also need the SQL read model.

    Every stage has the feature "", which is the core.
    """
    if feature in _OFF or (feature == "reports" and not _settings.sql_url):
        return False
    try:
        return not feature or importlib.util.find_spec(f"chalicelib.extras.{feature}") is not None
    except ModuleNotFoundError:  # the whole folder was deleted
        return False


@contextlib.contextmanager
def optional(feature: str = "") -> Iterator[None]:
    """
    Raise a `FeatureNotFoundError` if the block imports a module that was deleted from `chalicelib/extras`.

    Also raise it if `feature` is a projection that is off in this stage.
    """
    if feature in _OFF:
        raise FeatureNotFoundError
    try:
        yield
    except ImportError as error:
        if not (error.name or "").startswith("chalicelib.extras"):
            raise
        telemetry.log_missing_feature(error.name)
        raise FeatureNotFoundError from error
