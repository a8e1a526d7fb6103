"""
Clients that follow README: each increment has a key and is retried until it gets a response.

Many clients run concurrently, on one hot counter and some cold ones. Some increments ask for the new state, and some
are swaps. Clients sometimes time out, and retry increments that got a response long ago.
"""

import enum
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

HOT = "hot"
COLD = [f"cold-{number}" for number in range(20)]

#: The longest time without an answer, on the slowest machine, including a restart of the system.
PATIENCE_S = 300

_REFUSALS_TO_TAKE = 3
_NO_SUCH_VERSION = 10**9
_LONGEST_WAIT_S = 2.0
_ANSWER_WITHIN_S = 60
_TRY_AGAIN = {429, 500, 502, 503, 504}


class Way(enum.Enum):
    """The form of an increment."""

    PLAIN = "plainly"
    RESULT = "with the result"
    SWAP = "as a swap"
    STALE_SWAP = "as a swap from a version that the counter never has"


@dataclass(frozen=True, slots=True)
class Wish:
    """One increment of a client, with a unique key."""

    counter_id: str
    key: str
    by: int
    way: Way


class UnexpectedError(Exception):
    """A response that no client should get."""


@dataclass
class Heard:
    """The responses to one client: the ids of its events, and the numbers of refusals and retries."""

    acknowledged: dict[Wish, str] = field(default_factory=dict)
    refused: int = 0
    retried: int = 0
    given_up: int = 0
    sent_again: int = 0

    @property
    def answered(self) -> int:
        """Return the number of increments that are acknowledged or refused."""
        return len(self.acknowledged) + self.refused


def wishes(seed: int, client: int, count: int) -> list[Wish]:
    """Return this number of increments for one client. About half of them go to the hot counter."""
    chance = random.Random(f"{seed}/wishes/{client}")
    return [_wish(chance, f"{client}/{number}") for number in range(count)]


def _wish(chance: random.Random, key: str) -> Wish:
    (way,) = chance.choices(list(Way), [85, 8, 5, 2])
    # A swap on the hot counter would be refused nearly always.
    counter_id = HOT if way is not Way.SWAP and chance.random() < 0.5 else chance.choice(COLD)
    return Wish(counter_id, key, chance.randint(1, 9), way)


class Client:
    """One client. `heard` has each response as soon as it arrives."""

    def __init__(self, seed: int, number: int, address: Callable[[], str], stopping: threading.Event) -> None:
        self.heard = Heard()
        self._chance = random.Random(f"{seed}/client/{number}")
        self._address = address
        self._stopping = stopping

    def send_all(self, wanted: list[Wish]) -> None:
        """
        Send these increments, each until it is acknowledged or, if it is a swap, refused. End early if stopped.

        Raises:
            UnexpectedError: a client gets an unexpected response, or none in time.
        """
        with httpx.Client(timeout=_ANSWER_WITHIN_S) as http:
            self._http = http
            for wish in wanted:
                self._send(wish)
                if self._stopping.is_set():
                    return
                if self._chance.random() < 0.03:
                    self._send_again(self._chance.choice(list(self.heard.acknowledged)))

    def _send(self, wish: Wish) -> None:
        version = self._version(wish)
        if self._stopping.is_set():
            return
        for refusals in itertools.count(1):
            answer = self._answer(wish, version)
            if answer is None:
                return
            if answer.status_code in (200, 202):
                self.heard.acknowledged[wish] = _event_id(answer, wish)
                return
            if answer.status_code != 412 or version is None:
                raise _unexpected(answer, wish)
            if wish.way is Way.STALE_SWAP or refusals == _REFUSALS_TO_TAKE:
                self.heard.refused += 1
                return
            version = int(answer.headers["ETag"].strip('"'))

    def _send_again(self, wish: Wish) -> None:
        answer = self._answer(wish, None)
        if answer is None:
            return
        self.heard.sent_again += 1
        if answer.headers.get("Idempotency-Replayed") != "true":
            raise _unexpected(answer, wish)
        if _event_id(answer, wish) != self.heard.acknowledged[wish]:
            raise _unexpected(answer, wish)

    def _version(self, wish: Wish) -> int | None:
        """Return the version from which a swap is attempted."""
        match wish.way:
            case Way.SWAP:
                answer = self._until_answered(lambda: self._http.get(f"{self._address()}/counters/{wish.counter_id}"))
                return int(answer.raise_for_status().json()["version"]) if answer else None
            case Way.STALE_SWAP:
                return _NO_SUCH_VERSION
            case _:
                return None

    def _answer(self, wish: Wish, version: int | None) -> httpx.Response | None:
        headers = {"Idempotency-Key": wish.key}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        if wish.way is Way.RESULT:
            headers["Prefer"] = "return=representation"

        def post() -> httpx.Response:
            patience_s = self._chance.uniform(0.01, 0.2) if self._chance.random() < 0.02 else _ANSWER_WITHIN_S
            url = f"{self._address()}/counters/{wish.counter_id}/increments"
            return self._http.post(url, json={"by": wish.by}, headers=headers, timeout=patience_s)

        return self._until_answered(post)

    def _until_answered(self, request: Callable[[], httpx.Response]) -> httpx.Response | None:
        """Return the first response that is not a temporary failure, or None if the client is stopped first."""
        deadline = time.monotonic() + PATIENCE_S
        last: httpx.Response | httpx.TransportError
        for attempt in itertools.count():
            try:
                last = request()
                if last.status_code not in _TRY_AGAIN:
                    return last
                at_least_s = float(last.headers.get("Retry-After", 0))
            except httpx.TransportError as error:
                last, at_least_s = error, 0.0
                self.heard.given_up += isinstance(error, httpx.ReadTimeout)
            if time.monotonic() > deadline:
                raise UnexpectedError(f"no answer within {PATIENCE_S} s; the last was {last!r}")
            self.heard.retried += 1
            jitter_s = self._chance.uniform(0, min(_LONGEST_WAIT_S, 0.05 * 2 ** min(attempt, 10)))
            if self._stopping.wait(at_least_s + jitter_s):
                return None
        raise AssertionError


@dataclass
class Clients:
    """All clients of a run, and the sums of their responses."""

    seed: int
    address: Callable[[], str]
    stopping: threading.Event = field(default_factory=threading.Event)
    all: list[Client] = field(default_factory=list)

    def new(self) -> Client:
        """Add a client."""
        self.all.append(Client(self.seed, len(self.all), self.address, self.stopping))
        return self.all[-1]

    @property
    def acknowledged(self) -> dict[Wish, str]:
        """Return every acknowledged increment and the id of its event."""
        return {wish: event_id for client in self.all for wish, event_id in client.heard.acknowledged.items()}

    def total(self, name: str) -> int:
        """Return the sum of a number over all clients."""
        return sum(getattr(client.heard, name) for client in self.all)


def _event_id(answer: httpx.Response, wish: Wish) -> str:
    event_id = answer.headers["Location"].rpartition("/")[2]
    if answer.status_code == 202 and (answer.json()["event_id"], answer.json()["by"]) != (event_id, wish.by):
        raise _unexpected(answer, wish)
    return event_id


def _unexpected(answer: httpx.Response, wish: Wish) -> UnexpectedError:
    return UnexpectedError(f"{wish} was answered {answer.status_code}, {dict(answer.headers)}, {answer.text}")
