"""
Declare each projection once. Everything else that a projection needs derives from its declaration.

`publish` sends every event that is to be counted to the queue of each projection that the stage has. The projection's
function counts the events in its read model. The names of its queues and metrics derive from the declaration. So do the
imports, the permissions and the configuration of its function, its CloudFormation stack, and the choices of
`--projection`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ROLES = frozenset({"project", "api", "check", "operator"})
_MAX_KEYS = 2

#: The names of the tables and metrics that every stage has.
_STAGE_TABLES = frozenset({"event-log", "counters", "archive", "catalog"})
_STAGE_METRICS = frozenset({"NotCounted"})


@dataclass(frozen=True, slots=True)
class Table:
    """
    A DynamoDB table of an optional projection.

    `keys` maps the partition key, and the sort key if there is one, to their types: S, N or B. `actions` maps a role to
    the DynamoDB actions that the role may use. Roles: `project` (the projection's function), `api`, `check` and
    `operator`.
    """

    name: str
    keys: Mapping[str, str]
    actions: Mapping[str, tuple[str, ...]]

    def full_name(self, stage: str) -> str:
        """Return the table's name on AWS."""
        return f"counter-{stage}-{self.name}"


@dataclass(frozen=True, slots=True)
class Projection:
    """
    A read model that is built from the events on a queue.

    Operators pass `name` to `--projection`; `title` precedes "read model" and "projection queue" in texts for
    operators. `module`, in `chalicelib`, defines `count(events, likely_counted)`; see `projector.Count`. `client` is
    the module whose function `client` connects to the read model. `setting` is the environment variable that switches
    the projection on; a projection without a setting is always on.
    """

    name: str
    title: str
    module: str
    client: str = "aws.tables"
    setting: str = ""
    tables: tuple[Table, ...] = ()

    def __post_init__(self) -> None:
        """Reject malformed or reserved names, and tables with unknown roles or with more than two keys."""
        if self.setting and (not _NAME.fullmatch(self.name) or f"{self.prefix}Counted" in _STAGE_METRICS):
            raise ValueError(
                f"projection {self.name!r}: the name must be lower-case words joined by hyphens, but not 'not'"
            )
        for table in self.tables:
            if not _NAME.fullmatch(table.name) or table.name in _STAGE_TABLES:
                reserved = ", ".join(sorted(_STAGE_TABLES))
                raise ValueError(
                    f"projection {self.name!r}: a table's name must be lower-case words joined by hyphens, but none of "
                    f"{reserved}"
                )
            if not table.actions.keys() <= _ROLES or not 1 <= len(table.keys) <= _MAX_KEYS:
                roles = ", ".join(sorted(_ROLES))
                raise ValueError(f"projection {self.name!r}: a table must have one or two keys, and roles from {roles}")

    @property
    def function(self) -> str:
        """Name of the function that counts events: an attribute of `app.py`."""
        return f"project_{self.name.replace('-', '_')}" if self.setting else "project"

    @property
    def prefix(self) -> str:
        """Prefix of the projection's metrics, and of its resources in the template."""
        return self.name.title().replace("-", "") if self.setting else ""

    def queue(self, stage: str) -> str:
        """Return the name of the queue between `publish` and the projection's function."""
        return f"counter-{stage}-{self.name}-projection" if self.setting else f"counter-{stage}-projection"

    def dead_letter_queue(self, stage: str) -> str:
        """Return the name of the queue with the function's dead letters."""
        return f"{self.queue(stage)}-dead-letter"

    def describe(self, thing: str) -> str:
        """Return the operators' name for this projection's read model, projection queue or dead-letter queue."""
        return f"{self.title} {thing}".strip()


READ_MODEL = Projection("read-model", "", "read_model.writer")

SQL = Projection("sql", "SQL", "extras.sql.read_model", client="extras.sql.read_model", setting="SQL_URL")

#: Every projection. The first one answers queries; the others are off unless their setting is on.
PROJECTIONS = (READ_MODEL, SQL)
