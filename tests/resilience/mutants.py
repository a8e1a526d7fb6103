"""
Likely mistakes, each as a change of our source that is applied in memory while a test runs.

`mutants.txt` has the mutants below the names of their modules: name and mistake, the lines that are removed (-) and
added (+), and the test that should catch the mutant. A mutant that no test catches is a gap in the tests.
`python -m tests.resilience.mutants` runs each with its test and writes the table in docs/mutants.md.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import pytest

PROJECT = Path(__file__).parent.parent.parent
TABLE = PROJECT / "docs" / "mutants.md"
FILE = Path(__file__).with_name("mutants.txt")


@dataclass(frozen=True)
class Mutant:
    """A bug: in this module, the lines `wrong` replace `right`, which occur once. The catcher must fail."""

    mistake: str
    module: str
    right: str
    wrong: str
    catcher: str


#: pytest's options, without the plugins that only take time to load. pytest cannot rewrite the assertions of a module
#: that is loaded before it.
_OPTIONS = (
    *(f"-pno:{name}" for name in ("hypothesispytest", "cov", "xdist", "cacheprovider")),
    "-Wignore::pytest.PytestAssertRewriteWarning",
)

#: A context that forks processes from a process that has imported the libraries but none of our modules.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "aws_lambda_powertools.metrics",
        "boto3",
        "chalice",
        "hypothesis",
        "ministack.services.dynamodb",
        "pynamodb.models",
        "pytest",
        "rich.progress",
        "sqlalchemy.dialects.postgresql.psycopg",
        "yaml",
    ]
)

#: The exit codes of a process whose catcher passed or failed. Python's own code of a crash is 1.
_PASSED, _FAILED = 100, 101


def _read_mutants() -> dict[str, Mutant]:
    """Read the mutants by name."""
    mutants, module = {}, ""
    for block in FILE.read_text(encoding="utf-8").split("\n\n"):
        head, *lines = block.splitlines()
        if head.startswith("=== "):
            module = head.removeprefix("=== ")
            continue
        name, _, mistake = head.partition(": ")
        *changes, catcher = lines
        right, wrong = ("".join(f"{line[1:]}\n" for line in changes if line[0] == sign) for sign in "-+")
        mutants[name] = Mutant(mistake, module, right, wrong, catcher)
    return mutants


MUTANTS = _read_mutants()


class _Finder(importlib.abc.MetaPathFinder):
    """A finder that returns the mutated module in place of the original."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
        spec.loader = _Loader(self._mutant, spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutant: Mutant, name: str, path: str) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> object:  # type: ignore[override]  # noqa: ARG002  (the base class's)
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutate(self._mutant, source), self.path, "exec")


def mutate(mutant: Mutant, source: str) -> str:
    """Return the source with the bug. The lines `right` must occur exactly once."""
    assert source.count(mutant.right) == 1, f"{mutant.module} does not contain this exactly once: {mutant.right!r}"
    return source.replace(mutant.right, mutant.wrong)


def is_caught(name: str) -> bool:
    """Return whether the mutant's catcher fails. Ordinary test runs show that the catcher passes without the mutant."""
    mutant = MUTANTS[name]
    mutate(mutant, (PROJECT / f"{mutant.module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    with tempfile.NamedTemporaryFile("r") as output:
        process = _FORKS.Process(target=_run_catcher, args=(name, output.name))
        process.start()
        process.join()
        assert process.exitcode in (_PASSED, _FAILED), f"{name} could not be run:\n{output.read()}"
    return process.exitcode == _FAILED


def _run_catcher(name: str, output: str) -> None:
    """Run the mutant's catcher in this new process. Exit with pytest's code plus 100, a sum that no crash has."""
    os.environ["MUTANT"] = name  # for the processes that the catcher starts
    sys.meta_path.insert(0, _Finder(MUTANTS[name]))
    os.chdir(PROJECT)
    with Path(output).open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        code = pytest.main(["-q", "-x", *_OPTIONS, MUTANTS[name].catcher])
        sys.stdout.flush()
    os._exit(_PASSED + code)


def run_mutants(names: Iterable[str]) -> dict[str, Future[bool]]:
    """Run these mutants, as many at once as there are processors. Each result is whether the mutant was caught."""
    pool = ThreadPoolExecutor(os.cpu_count())
    found = {name: pool.submit(is_caught, name) for name in names}
    pool.shutdown(wait=False)
    return found


def table() -> str:
    """Render docs/mutants.md."""
    rows = [
        f"| {mutant.mistake} | `{mutant.module}` | `{mutant.catcher.partition('::')[2] or mutant.catcher}` |"
        for mutant in MUTANTS.values()
    ]
    head = [
        "# Mutants",
        "",
        "This page lists likely mistakes in a system like this one. Each mistake is applied to our own source, in",
        "memory, and the test in its row must then fail. `make mutants` runs all mutants and writes this page.",
        "",
        "| Mistake | Module | Test |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


@click.command(help=__doc__)
def main() -> None:
    survivors = []
    for name, found in run_mutants(MUTANTS).items():
        caught = found.result()
        click.echo(f"{'caught' if caught else 'SURVIVED'}  {name}")
        if not caught:
            survivors.append(name)
    click.echo(f"{len(MUTANTS)} mutants, {len(survivors)} survived")
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(), encoding="utf-8")
    sys.exit(1 if survivors else 0)


if name := os.environ.get("MUTANT"):
    sys.meta_path.insert(0, _Finder(MUTANTS[name]))

if __name__ == "__main__":
    main()
