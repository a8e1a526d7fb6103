"""Run Chalice's development server for the stage `local`: python -m ops.local.chalice_local PORT."""

import functools
import logging
import os
import signal
import sys
from http import HTTPStatus
from typing import Any

from chalice.app import Chalice
from chalice.cli import run_local_server
from chalice.cli.factory import CLIFactory
from chalice.config import Config
from chalice.local import ChaliceRequestHandler, LocalDevServer

from ops import stages
from ops.local.loopback import LoopbackHandler


class Factory(CLIFactory):
    """Chalice's factory, with the SQLite files that the stage's functions use, and a stricter server."""

    def load_project_config(self) -> dict[str, Any]:
        """Load the configuration with absolute paths in the stage's environment."""
        configuration: dict[str, Any] = super().load_project_config()
        configuration["stages"][stages.LOCAL_STAGE]["environment_variables"] = stages.read_environment(
            stages.LOCAL_STAGE
        )
        return configuration

    def create_local_server(self, app_obj: Chalice, config: Config, host: str, port: int) -> LocalDevServer:
        """Create a server that refuses requests that Chalice's handler would misread."""
        created = super().create_local_server(app_obj, config, host, port)
        handler: Any = Handler
        created.server.RequestHandlerClass = functools.partial(handler, app_object=app_obj, config=config)
        return created


class Handler(LoopbackHandler, ChaliceRequestHandler):
    """
    Chalice's handler, which also refuses requests that it would interpret differently from API Gateway.

    Chalice ignores the transfer coding of a body, and all but one of several headers with the same name. Chalice also
    cuts off a path at ";" or "#".
    """

    def parse_request(self) -> bool:
        """Parse the request line and headers. Return False if the request was refused."""
        return super().parse_request() and not self._is_misread()

    def _is_misread(self) -> bool:
        names = [name.lower() for name in self.headers]
        length = self.headers.get("Content-Length", "0")
        if "transfer-encoding" in names:
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "`make local` reads no chunked bodies: send a Content-Length.")
        elif len(names) > len({*names}):
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "`make local` reads only one header of each name.")
        elif not (length.isascii() and length.isdecimal()):
            self.refuse(HTTPStatus.BAD_REQUEST, "Content-Length must be a number of bytes.")
        elif ";" in self.path.partition("?")[0] or "#" in self.path:
            self.refuse(HTTPStatus.BAD_REQUEST, "The path must not contain ';' or '#'.")
        else:
            return False
        return True

    def _send_http_response_with_body(self, code: int, headers: dict[str, Any], body: str | bytes) -> None:
        if self.command != "HEAD":
            super()._send_http_response_with_body(code, headers, body)
            return
        length = len(body if isinstance(body, bytes) else body.encode())
        self.send_response(code)
        self._send_headers({"Content-Type": "application/json", **headers, "Content-Length": str(length)})


def factory() -> Factory:
    """Create the factory. Its app gets the environment variables of this process and of the stage."""
    return Factory(str(stages.PROJECT), environ=os.environ)


def main(port: int) -> None:
    """Run the server until this process is stopped."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C and each reload end this process, without a traceback
    os.environ["AWS_CHALICE_CLI_MODE"] = "true"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    run_local_server(factory(), "127.0.0.1", port, stages.LOCAL_STAGE)


if __name__ == "__main__":
    main(int(sys.argv[1]))
