"""The counter without its optional features."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent

#: Increment, publish, project and read on the embedded AWS's engine, then use each route of an optional feature.
PROGRAM = """
import json, random
import app
from chalicelib.api import views
from testkit.builders import a_scheduled_turn
from tests.pipeline import Pipeline
from testkit.engine import Engine

engine = Engine()
urls = [engine.outputs[name] for name in ("ProjectionQueueUrl", "DeadLetterQueueUrl", "EventLogStreamArn")]
with engine.serve_clients():
    pipeline = Pipeline(*urls, random.Random(1), client=engine.client)
    accepted = [pipeline.increment().status, pipeline.increment({"by": 2}).status]
    swapped = pipeline.increment(If_Match='"0"').status
    pipeline.deliver()
    paths = {route.view_name: path for path, methods in app.app.routes.items() for route in methods.values()}
    missing = [pipeline.send("GET", paths[name], path={"name": "days"}).body for name in paths if views.FEATURES[name]]
    kept = [pipeline.send("GET", paths[name]).status for name in ("index", "counters", "events")]
    hidden = sorted(paths.keys() - pipeline.send("GET", "/").body["links"].keys())
    print(json.dumps({
        "accepted": accepted, "swapped": swapped, "value": pipeline.value, "missing": missing, "kept": kept,
        "hidden": hidden,
        "parked": pipeline.parked(), "check": app.check(a_scheduled_turn(), None),
    }))
"""


def test_counter_without_extras_counts_and_answers_404(tmp_path):
    """Delete `chalicelib/extras` from a copy: the counter counts, and the optional routes are problems with 404."""
    for name in ("app.py", "chalicelib", "infrastructure", "ops", "testkit", "tests"):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "extras"))
        else:
            shutil.copy(source, tmp_path)

    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "STAGE": "bare", "_HANDLER": "app.check", "SQL_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    result = lines[-1]
    assert result["accepted"] == [202, 202]
    assert (result["swapped"], result["value"]) == (200, 4)
    assert [problem["status"] for problem in result["missing"]] == [404] * 4
    assert result["hidden"] == ["badge", "index", "openapi", "report", "reports"]
    assert {problem["type"] for problem in result["missing"]} == {"urn:counter:problem:feature-not-found"}
    assert (result["kept"], result["parked"], result["check"]) == ([200] * 3, [], None)
    assert {line["message"] for line in lines[:-1] if line.get("level") == "ERROR"} == set()
