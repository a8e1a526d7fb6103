"""
Run the embedded AWS as a process, behind a guard.

The process shuts down cleanly when its parent ends, because its standard input is then closed.
"""

import hashlib
import hmac
import os
import signal
import sys
import threading
from typing import Any
from urllib.parse import parse_qs

from ministack.core import iam_evaluator, lambda_runtime, sigv4
from ministack.services import cloudfront, s3, sts

from ops.local import ministack_gateway, ministack_speed
from ops.local.guard import Guard, Message


def main() -> None:
    """Run the embedded AWS until SIGTERM. The environment configures it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lambda_runtime.execution_credentials = create_session
    from ministack import app  # noqa: PLC0415  (imports the function above by name)

    ministack_gateway.correct(app)
    ministack_speed.cache_checks()
    _accept_metric_math()
    _accept_budgets(app._get_module("budgets"))
    _use_own_binaries()
    _keep_processes()
    app.app = Guard(
        app.app,
        int(os.environ["GATEWAY_PORT"]),
        is_authentic=is_authentic,
        is_bucket=is_bucket,
        is_distribution=is_distribution,
    )
    app.main()


def create_session(function: dict[str, Any]) -> dict[str, str]:
    """
    Return credentials for the function's role, the same at each call.

    The embedded AWS derives a function's credentials from names alone. These credentials also depend on the local
    secret.
    """
    account_id = function["FunctionArn"].split(":")[4]
    role = function["Role"].rpartition("/")[2]
    name = function["FunctionName"][:64]
    access_key_id = f"ASIA{_derive('key', function)[:16].upper()}"
    session = {
        "Arn": f"arn:aws:sts::{account_id}:assumed-role/{role}/{name}",
        "UserId": f"{role}:{name}",
        "SecretAccessKey": _derive("secret", function),
        "SessionToken": _derive("token", function),
    }
    sts.register_session(access_key_id, session)
    return {
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


def is_authentic(scope: Message, body: bytes) -> bool:
    """
    Check whether a request is signed with the local system's own key, or with the key of a function or a user.

    Only signatures with the system's own key are verified here. The embedded AWS verifies all others itself.
    """
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), sigv4.decode_header_value(value)
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    signature = sigv4.parse_header_signature(headers)
    if isinstance(signature, tuple) or not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        return False
    key_id = signature.access_key_id
    if key_id == os.environ["AWS_ACCESS_KEY_ID"]:
        query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        request = (scope["method"], scope["raw_path"].decode("latin-1"), query, headers, body)
        return not (
            sigv4.request_time_failure(signature)
            or sigv4.header_signature_failure(signature, os.environ["AWS_SECRET_ACCESS_KEY"], *request)
        )
    # The embedded AWS also accepts other keys for its root user, such as "test".
    if iam_evaluator.is_root_access_key(key_id):
        return False
    return key_id in sts._sessions or iam_evaluator.find_iam_access_key_account(key_id) is not None


def is_bucket(name: str) -> bool:
    """Check whether a bucket has this name."""
    return s3._bucket_owner_account(name) is not None


def is_distribution(domain: str) -> bool:
    """Check whether a CloudFront distribution has this domain."""
    return cloudfront.find_distribution_for_label(domain.partition(".")[0]) is not None


def _derive(purpose: str, function: dict[str, Any]) -> str:
    text = f"{purpose}:{function['FunctionArn']}:{function['Role']}"
    return hmac.new(os.environ["AWS_SECRET_ACCESS_KEY"].encode(), text.encode(), hashlib.sha256).hexdigest()


def _end_with_parent() -> None:
    # Not sys.stdin.read(): a thread blocked there holds a lock that the interpreter needs to shut down.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _use_own_binaries() -> None:
    """Let functions load cryptography from this environment: the copy in their package is for Lambda's processor."""
    add_package = "    sys.path.insert(0, code_dir)\n"
    load = """\
    if os.path.isdir(os.path.join(code_dir, "cryptography")):
        import cryptography.hazmat.bindings._rust
"""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(add_package, load + add_package)


def _keep_processes() -> None:
    """Keep a function's process after its handler raised an error, as Lambda does. The next event has no cold start."""
    invoke, script = lambda_runtime.Worker.invoke, lambda_runtime._PYTHON_WORKER_SCRIPT
    failed, raised = '{"status": "error", "error": str(e), "trace"', '{"status": "ok", "raised": str(e), "trace"'
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(failed, raised)

    def invoke_and_keep(worker: Any, *event: Any, **more: Any) -> Any:
        response = invoke(worker, *event, **more)
        return response | {"status": "error", "error": response["raised"]} if "raised" in response else response

    lambda_runtime.Worker.invoke = invoke_and_keep


def _accept_metric_math() -> None:
    """Let CloudFormation create alarms on expressions. The embedded AWS would refuse them. It evaluates no alarms."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  (as late as `ministack.app`)

    @ministack_gateway.extend(provisioners, "_cw_metric_alarm_record")
    def _(create_record: Any, name: str, properties: dict[str, Any]) -> Any:
        if "Metrics" not in properties:
            return create_record(name, properties)
        unused = {"Metrics": None, "MetricName": "-", "Namespace": "-"}
        return create_record(name, properties | unused) | {"Metrics": properties["Metrics"]}


def _accept_budgets(budgets: Any) -> None:
    """Let CloudFormation create budgets."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  (as late as `ministack.app`)

    def create(_id: str, properties: dict[str, Any], _stack: Any) -> tuple[str, dict[str, Any]]:
        ministack_gateway.check_response(budgets._create_budget(properties))
        return properties["Budget"]["BudgetName"], {}

    provisioners._RESOURCE_HANDLERS["AWS::Budgets::Budget"] = {
        "create": create,
        "delete": lambda name, _properties: budgets._delete_budget({"BudgetName": name}),
    }


if __name__ == "__main__":
    main()
