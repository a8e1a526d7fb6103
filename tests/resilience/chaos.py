"""
Faults between the deployed functions and the embedded AWS: lost requests and responses, throttling, killed functions.

Each function's `HTTP_PROXY` names its own proxy in front of the embedded AWS. The proxy drops some requests, loses
some responses and throttles other requests, on one or on every attempt of the SDK. Sometimes it kills the calling
process, before or after its request. The faults come from the network and the machine, not from our code.
"""

import enum
import http.client
import http.server
import os
import random
import select
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3

from ops import stages
from ops.deployment import deploy

_PROC = Path("/proc")


class Fault(enum.Enum):
    """A fault that an attempt at a request meets."""

    NEVER_ARRIVES = "never arrived"
    LOSES_ITS_ANSWER = "lost its answer"
    IS_THROTTLED = "throttled"
    DIES_BEFORE = "died before a request"
    DIES_AFTER = "died after a request"


DEATHS = (Fault.DIES_BEFORE, Fault.DIES_AFTER)
REPEATABLE = (Fault.NEVER_ARRIVES, Fault.LOSES_ITS_ANSWER, Fault.IS_THROTTLED)

#: The functions by their names in the template, and the number of requests that one deck lasts.
DECKS = {"APIHandler": 600, "Publish": 50, "Project": 80}


@dataclass(frozen=True)
class Card:
    """The fault of one request. If `always`, each of the SDK's attempts meets it."""

    fault: Fault
    always: bool = False


_FAULTS = [*(Card(fault) for fault in Fault), *(Card(fault, always=True) for fault in REPEATABLE)]


class Chaos:
    """
    The proxies of all functions. At first it is paused: requests only pass through.

    Each function draws its faults from a deck that holds every fault once and is reshuffled when it is used up, so that
    the order is random and no fault is left out.
    """

    def __init__(self, aws_port: int, seed: int) -> None:
        self.happened: Counter[tuple[str, Fault]] = Counter()
        self.aws_port = aws_port
        self._calm = True
        self._lock = threading.Lock()
        self._chance = random.Random(f"{seed}/chaos")
        self._decks: dict[str, list[Card | None]] = {function: [] for function in DECKS}
        self._doomed: dict[str, Card] = {}
        self._doors = [_Door(self, function) for function in DECKS]

    def stand_between(self) -> None:
        """Route each deployed function's requests through its proxy. Call this after each start; safe to repeat."""
        functions = boto3.client("lambda")
        for door in self._doors:
            resource = boto3.client("cloudformation").describe_stack_resource(
                StackName=deploy.stack_name(stages.LOCAL_STAGE), LogicalResourceId=door.function
            )
            name = resource["StackResourceDetail"].get("PhysicalResourceId", "")
            variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            if variables.get("HTTP_PROXY") != door.url:
                # An empty NO_PROXY overrides the embedded AWS's own, which functions inherit.
                through = {"HTTP_PROXY": door.url, "http_proxy": door.url, "NO_PROXY": "", "no_proxy": ""}
                functions.update_function_configuration(
                    FunctionName=name, Environment={"Variables": {**variables, **through}}
                )

    def begin(self) -> None:
        """Begin to inject faults."""
        self._calm = False

    def pause(self) -> None:
        """Stop injecting faults."""
        self._calm = True

    def close(self) -> None:
        """Close the proxies."""
        for door in self._doors:
            door.shutdown()
            door.server_close()

    def draw(self, function: str, call: str) -> Fault | None:
        """Draw the fault for this attempt at a call. All attempts of the SDK at one request are one call."""
        with self._lock:
            if self._calm:
                return None
            card = self._doomed.get(call) or self._next_card(function)
            if card is None:
                return None
            if card.always:
                self._doomed[call] = card
            return card.fault

    def note(self, function: str, fault: Fault) -> None:
        """Count a fault that occurred."""
        with self._lock:
            self.happened[function, fault] += 1

    def _next_card(self, function: str) -> Card | None:
        deck = self._decks[function]
        if not deck:
            deck += [*_FAULTS, *[None] * (DECKS[function] - len(_FAULTS))]
            self._chance.shuffle(deck)
        return deck.pop()


class _Door(http.server.ThreadingHTTPServer):
    """The proxy in front of AWS for one function."""

    daemon_threads = True

    def __init__(self, chaos: Chaos, function: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.chaos = chaos
        self.function = function
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore broken connections: functions that die or give up cause them."""


class _Passage(http.server.BaseHTTPRequestHandler):
    """A connection from a function, and the matching connection to the embedded AWS."""

    server: _Door
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._aws = http.client.HTTPConnection("127.0.0.1", self.server.chaos.aws_port, timeout=60)

    def finish(self) -> None:
        self._aws.close()
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.server.chaos.draw(self.server.function, self.headers["amz-sdk-invocation-id"])
        match fault:
            case None:
                self._answer(*self._carried_out(body))
                return
            case Fault.NEVER_ARRIVES:
                self.close_connection = True
            case Fault.LOSES_ITS_ANSWER:
                self._carried_out(body)
                self.close_connection = True
            case Fault.IS_THROTTLED:
                self._answer(400, [("Content-Type", "application/x-amz-json-1.0")], _THROTTLED)
            case Fault.DIES_BEFORE:
                self._kill()
            case Fault.DIES_AFTER:
                self._carried_out(body)
                self._kill()
        self.server.chaos.note(self.server.function, fault)

    def _carried_out(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._aws.sock is not None and select.select([self._aws.sock], [], [], 0)[0]:
            self._aws.close()  # the server has closed it
        path = urlsplit(self.path).path  # requests to a proxy have full URLs
        self._aws.request(self.command, path, body, dict(self.headers))
        answer = self._aws.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        kept = [f"{name}: {value}" for name, value in headers if name.lower() not in _OF_THE_CONNECTION]
        head = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}", *kept, f"Content-Length: {len(body)}"]
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    def _kill(self) -> None:
        self.close_connection = True
        os.kill(process_of(self.client_address[1], self.server.server_port), signal.SIGKILL)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


_THROTTLED = b'{"__type":"com.amazonaws#ThrottlingException","message":"Rate exceeded"}'
_OF_THE_CONNECTION = {"connection", "content-length", "keep-alive", "transfer-encoding"}


def can_kill() -> bool:
    """Return whether this machine shows the owner of a connection, as Linux does in /proc."""
    return (_PROC / "net" / "tcp").exists()


def process_of(port: int, to: int) -> int:
    """
    Return the process on this machine that is connected from one port to another.

    Both ports identify the connection: the kernel gives one local port to connections to several servers.

    Raises:
        ProcessLookupError: no process has this connection.
    """
    socket = f"socket:[{_inode_of(port, to)}]"
    for descriptors in _PROC.glob("[0-9]*/fd"):
        try:
            if any(str(descriptor.readlink()) == socket for descriptor in descriptors.iterdir()):
                return int(descriptors.parent.name)
        except OSError:  # the process has ended
            continue
    raise ProcessLookupError(f"no process is connected from port {port} to port {to}")


def _inode_of(port: int, to: int) -> str:
    """
    Return the inode of the socket that is connected from one port to another.

    `man 5 proc_net`: the second and third columns are the two addresses, with ports in hexadecimal; the tenth is the
    inode.
    """
    for line in (_PROC / "net" / "tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if columns[1].endswith(f":{port:04X}") and columns[2].endswith(f":{to:04X}") and columns[9] != "0":
            return columns[9]
    raise ProcessLookupError(f"no process is connected from port {port} to port {to}")
