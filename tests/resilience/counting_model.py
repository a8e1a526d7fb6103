"""
A model of counting, explored exhaustively.

It has one part of a counter, its pages, the log, and actors that each make one request at a time. An actor is a
generator that yields requests and receives responses. When its past no longer matters, it continues with another
program. An actor's state therefore consists of a program, its arguments and the responses since its start. Between any
two requests of an actor, the other actors may make any number of requests. Each request may conflict (a concurrent
transaction is in progress). Each response may be lost, after which the SDK makes the request again. A worker may die at
any moment, and its batch is then delivered again.

A transaction is committed item by item: a query may see one page as it is after the transaction and another as it was
before.

Sizes are deliberately small: few entries are recent, and few fit into a page. The rules are a second implementation of
`chalicelib.domain.archive`. A mutant breaks one rule, and the exploration must detect it.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

RECENT_MAX = 2
PAGE_MAX = 2
KEPT = 1
PAGES_PER_PLAN = 2

#: More writes than any small case needs.
MOST_WRITES = 30


class Entry(NamedTuple):
    """An event, or its entry. Each has a unique `number` and the amount 2**number, so a sum identifies its entries."""

    time: int
    number: int


Entries = frozenset[Entry]


class Page(NamedTuple):
    """A page: the entries later than `start`, up to `end`."""

    start: int
    end: int
    revision: int
    entries: Entries


class State(NamedTuple):
    """
    The stored data. If `revision` is 0, the counter has no item.

    `amended` rises with each change of a page that exists.
    `veiled` has the ends of pages whose last write is not visible yet, each with the page that a query still sees.
    """

    value: int = 0
    version: int = 0
    recent: Entries = frozenset()
    until: int = 0
    revision: int = 0
    pages: tuple[Page, ...] = ()
    log: Entries = frozenset()
    veiled: tuple[tuple[int, Page | None], ...] = ()
    amended: int = 0

    @property
    def visible(self) -> tuple[Page, ...]:
        """The pages as a query sees them."""
        pages = {page.end: page for page in self.pages} | dict(self.veiled)
        return tuple(page for _, page in sorted(pages.items()) if page)


class Change(NamedTuple):
    """A conditional write. A condition that is None or empty does not apply."""

    add: Entries = frozenset()
    delta: Entries = frozenset()
    difference: tuple[int, int] = (0, 0)
    recent: Entries | None = None
    until: int | None = None
    pages: tuple[tuple[int, int, int | None, Entries], ...] = ()
    seen_pages: tuple[Page, ...] = ()
    revision: int | None = None
    seen_recent: int | None = None
    amended: int | None = None
    version: int | None = None
    append: Entry | None = None


class Read(NamedTuple):
    """A consistent read: of the counter, of the page that covers a time, of all pages, or of the log."""

    what: str
    time: int = 0


class Refused(NamedTuple):
    """A refused write. `state` is the item that failed the condition, if the response has it."""

    state: State | None
    is_appended: bool = False


CONFLICT = Refused(None)

#: The plan if no page covers a late entry, because a page is not visible yet.
GAP = Change()


class Jump(NamedTuple):
    """A program and its arguments: the next step of an actor, regardless of its past."""

    program: "Callable[..., Program]"
    arguments: tuple[Any, ...]


class InFlight(NamedTuple):
    """A committed transaction whose response has not arrived. Queries may not see all of its changes yet."""

    ends: frozenset[int]


Program = Generator[Any, Any, Any]


def item(state: State) -> State:
    """Return the state as a read of the counter's item shows it, without pages and log."""
    return state._replace(pages=(), log=frozenset(), veiled=())


class BrokenError(Exception):
    """An invariant does not hold."""


def amount(entries: Iterable[Entry]) -> int:
    """Return the sum of these entries' amounts."""
    return sum(1 << entry.number for entry in entries)


def covering(pages: Iterable[Page], time: int) -> Page | None:
    """Return the page that covers a time: the first page that does not end before this time."""
    return next((page for page in pages if page.end >= time), None)


@dataclass
class Model:
    """The rules of counting, without the rule that `mutant` names. Entries up to `old_until` cannot stay recent."""

    mutant: str = ""
    old_until: int = 0
    at_version: int = 0
    states: int = field(default=0)
    _known: dict[Any, tuple[Any, Any]] = field(default_factory=dict)

    def is_broken(self, rule: str) -> bool:
        """Check whether the mutant breaks this rule."""
        return self.mutant == rule

    # The tables.

    def respond(self, state: State, request: Read | Change) -> tuple[State, Any]:
        """Return the next state and the response of one request."""
        if isinstance(request, Change):
            return self._write(state, request)
        match request.what:
            case "counter":
                return state, item(state)
            case "page":
                return state, covering(state.visible, request.time)
            case "pages":
                return state, state.visible
            case "pause":
                return state, None
            case _:
                return state, state.log

    def _write(self, state: State, change: Change) -> tuple[State, Any]:
        if change.append in state.log:
            return state, Refused(None, is_appended=True)
        if not self._holds(state, change):
            is_update = bool(change.add) and change.append is None
            return state, Refused(item(state)) if is_update else CONFLICT
        pages, veiled = {page.end: page for page in state.pages}, dict(state.veiled)
        for start, end, before, entries in change.pages:
            if end in veiled:
                return state, CONFLICT
            veiled[end] = pages.get(end)
            pages[end] = Page(start, end, (before or 0) + 1, entries)
        is_amended = any(before is not None for _, _, before, _ in change.pages)
        after = State(
            state.value + amount(change.delta) + change.difference[0],
            state.version + len(change.delta) + change.difference[1],
            (state.recent if change.recent is None else change.recent) | change.add,
            state.until if change.until is None else change.until,
            state.revision + 1,
            tuple(pages[end] for end in sorted(pages)),
            state.log if change.append is None else state.log | {change.append},
            tuple(sorted(veiled.items(), key=lambda veil: veil[0])),
            state.amended + (is_amended or change.difference != (0, 0)),
        )
        return after, item(after)

    def _holds(self, state: State, change: Change) -> bool:
        is_same_version = change.version is None or change.version == state.version
        return (
            is_same_version
            and change.amended in (None, state.amended)
            and (not change.add or self._can_add(state, change.add))
            and all(self._can_write_page(state, change, end, before) for _, end, before, _ in change.pages)
            and (change.revision is None or self._is_same_counter(state, change))
        )

    def _can_add(self, state: State, entries: Entries) -> bool:
        is_counted = entries & state.recent and not self.is_broken("no contains condition")
        is_late = min(entries).time <= state.until and not self.is_broken("no archived_until condition")
        is_full = len(state.recent) + len(entries) > RECENT_MAX and not self.is_broken("no room condition")
        return not (is_counted or is_late or is_full)

    def _can_write_page(self, state: State, change: Change, end: int, before: int | None) -> bool:
        stored = next((page for page in state.pages if page.end == end), None)
        if before is None:
            return stored is None or self.is_broken("new page without condition")
        return self._is_same_page(stored, before, change.seen_pages)

    def _is_same_counter(self, state: State, change: Change) -> bool:
        if self.is_broken("size of recent for revision"):
            return len(state.recent) == change.seen_recent
        return state.revision == change.revision or self.is_broken("no counter revision")

    def _is_same_page(self, stored: Page | None, revision: int, seen: tuple[Page, ...]) -> bool:
        if self.is_broken("no page condition"):
            return True
        if self.is_broken("page size for revision"):
            size = next((len(page.entries) for page in seen if stored and page.end == stored.end), None)
            return stored is not None and len(stored.entries) == size
        return stored is not None and stored.revision == revision

    # The worker: `read_model.writer`.

    def count(self, batch: Entries, read_first: bool) -> Program:
        """Count a batch as it is delivered."""
        if len(batch) <= RECENT_MAX and not read_first:
            response = yield Change(add=batch, delta=batch)
            if not isinstance(response, Refused):
                return None
            return Jump(self.count_planned, (batch, response.state))
        return Jump(self.count_planned, (batch, None))

    def count_planned(self, entries: Entries, part: State | None) -> Program:
        """Read, plan and write until all entries are counted."""
        if self.is_broken("pages read before the counter") and part is None:
            earlier = yield Read("pages")
            part, planned = (yield Read("counter")), entries
            pages = list(earlier)
        else:
            part = part or (yield Read("counter"))
            pages, planned = yield from self._pages_for(part, entries)
        change = self.plan(part, tuple(sorted(set(pages), key=lambda page: page.end)), planned)
        if change is GAP:
            return Jump(self.count_planned, (entries, None))
        if change:
            response = yield change
            if isinstance(response, Refused) and not self.is_broken("refusal taken for success"):
                return Jump(self.count_planned, (entries, response.state))
        rest = entries - planned
        return Jump(self.count_planned, (rest, None)) if rest else None

    def _pages_for(self, part: State, entries: Entries) -> Generator[Any, Any, tuple[list[Page], Entries]]:
        needed = sorted(entry for entry in entries - part.recent if entry.time <= part.until)
        pages: list[Page] = []
        for number, entry in enumerate(needed):
            if covering(pages, entry.time):
                continue
            if len(pages) == PAGES_PER_PLAN:
                return pages, frozenset(needed[:number])
            if page := (yield Read("page", entry.time)):
                pages.append(page)
        return pages, entries

    def plan(self, part: State, pages: tuple[Page, ...], entries: Entries) -> Change | None:
        """Return the writes that count these entries, like `domain.archive.plan`. `GAP`: no page covers an entry."""
        fresh = frozenset(entry for entry in entries if entry.time > part.until) - part.recent
        missing: set[Entry] = set()
        writes: list[tuple[int, int, int | None, Entries]] = []
        late: dict[Page, set[Entry]] = {}
        for entry in entries - fresh - part.recent:
            page = covering(pages, entry.time)
            if page is None or (page.start >= entry.time and not self.is_broken("start of a page ignored")):
                return GAP
            if entry not in page.entries or self.is_broken("page not searched"):
                late.setdefault(page, set()).add(entry)
        for page, lacking in late.items():
            missing |= lacking
            *first, last = self._pages_of(page.entries | lacking, page.start)
            writes += [*first, (last[0], page.end, page.revision, last[3])]
        seen = {"seen_pages": pages, "seen_recent": len(part.recent)}
        new = fresh | missing
        if not fresh:
            return Change(delta=new, pages=tuple(writes), **seen) if writes else None  # type: ignore[arg-type]
        together = part.recent | fresh
        if len(together) <= RECENT_MAX:
            if not writes:
                return Change(add=fresh, delta=fresh)
            return Change(delta=new, recent=together, pages=tuple(writes), revision=part.revision, **seen)  # type: ignore[arg-type]
        archived, kept = self._divide(together)
        until = max(entry.time for entry in archived)
        writes += self._pages_of(archived, part.until)
        return Change(
            delta=new,
            recent=kept,
            until=part.until if self.is_broken("archive without moving archived_until") else until,
            pages=tuple(writes),
            revision=part.revision,
            **seen,  # type: ignore[arg-type]
        )

    def _pages_of(self, entries: Entries, start: int) -> list[tuple[int, int, int | None, Entries]]:
        pages: list[tuple[int, int, int | None, Entries]] = []
        for chunk in self._split(entries):
            end = max(entry.time for entry in chunk)
            pages.append((start, end, None, chunk))
            start = end
        return pages

    def _divide(self, entries: Entries) -> tuple[Entries, Entries]:
        ordered = sorted(entries)
        cut = max(1, len(ordered) - KEPT)
        while cut < len(ordered) and (ordered[cut].time <= self.old_until or self._shares_time(ordered, cut)):
            cut += 1
        return frozenset(ordered[:cut]), frozenset(ordered[cut:])

    def _split(self, entries: Entries) -> list[Entries]:
        ordered = sorted(entries)
        size = -(-len(ordered) // -(-len(ordered) // PAGE_MAX))
        chunks, start = [], 0
        while start < len(ordered):
            end = min(start + size, len(ordered))
            while end < len(ordered) and self._shares_time(ordered, end):
                end += 1
            chunks.append(frozenset(ordered[start:end]))
            start = end
        return chunks

    def _shares_time(self, ordered: list[Entry], at: int) -> bool:
        return ordered[at].time == ordered[at - 1].time and not self.is_broken("same times apart")

    # The commands of clients: `command_handlers._compare_and_swap` and `command_handlers._append`.

    def swap(self, event: Entry) -> Program:
        """Append the event and count it in one transaction, if the counter is at `at_version`."""
        part = yield Read("counter")
        if part.version != self.at_version:
            return "refused"
        pages, _ = yield from self._pages_for(part, frozenset([event]))
        if not (change := self.plan(part, tuple(pages), frozenset([event]))):
            return "recorded before"
        if change is GAP:
            return Jump(self.swap, (event,))
        version = None if self.is_broken("no version condition") else part.version
        response = yield change._replace(append=event, version=version)
        if not isinstance(response, Refused):
            return "succeeded"
        return "recorded before" if response.is_appended else Jump(self.swap, (event,))

    def append_and_get(self, event: Entry) -> Program:
        """Append the event, then count it."""
        yield Change(append=event, revision=None)
        return Jump(self.count, (frozenset([event]), False))

    def deliver(self, event: Entry) -> Program:
        """Count an event that the stream delivers, if it was recorded."""
        log = yield Read("log")
        return Jump(self.count, (frozenset([event]), False)) if event in log else None

    # The repair: `extras.verification.repair`.

    def repair(self) -> Program:
        """Repair the read model from the log, which is read only at the beginning."""
        log = yield Read("log")
        return Jump(self.settle, (log, None))

    def settle(self, log: Entries, doubtful: tuple[int, int] | None) -> Program:
        """
        Write one correction after another, each based on a single view of the part.

        Entries come first, without totals. Then the totals are corrected by the difference, if it is the same as before
        a pause (`doubtful`). A page that is not visible yet causes a difference that disappears during the pause.
        """
        before = yield Read("counter")
        pages = yield Read("pages")
        after = yield Read("counter")
        ends = [0, *(page.end for page in pages)]
        has_gap = [page.start for page in pages] != ends[:-1] or ends[-1] != before.until
        if after.revision != before.revision or has_gap:
            return Jump(self.settle, (log, doubtful))
        held = [*before.recent, *(entry for page in pages for entry in page.entries)]
        if set(held) - log and not self.is_broken("log read before the pages"):
            log |= set(held) & (yield Read("log"))
        if change := self._removal(before, pages, log):
            yield change
            return Jump(self.settle, (log, doubtful))
        difference = (amount(held) - before.value, len(held) - before.version)
        missing = log - set(held)
        if difference == (0, 0):
            return Jump(self.count_planned, (missing, None)) if missing else None
        if missing and not self.is_broken("totals before entries"):
            return Jump(self.add, (log, missing, doubtful))
        if doubtful == difference or self.is_broken("totals at the first difference"):
            yield Change(difference=difference, amended=before.amended)
        else:
            yield Read("pause")
        return Jump(self.settle, (log, difference))

    def add(self, log: Entries, missing: Entries, doubtful: tuple[int, int] | None) -> Program:
        """Write missing entries as a worker does, but without changing the totals."""
        part = yield Read("counter")
        pages, planned = yield from self._pages_for(part, missing)
        change = self.plan(part, tuple(pages), planned)
        if change and change is not GAP:
            recent = part.recent | change.add if change.add else change.recent
            revision = part.revision if change.add else change.revision
            yield change._replace(add=frozenset(), delta=frozenset(), recent=recent, revision=revision)
        return Jump(self.settle, (log, doubtful))

    def _removal(self, part: State, pages: tuple[Page, ...], log: Entries) -> Change | None:
        if part.recent - log:
            return Change(recent=part.recent & log, revision=part.revision, seen_recent=len(part.recent))
        for page in pages:
            if page.entries - log:
                left = (page.start, page.end, page.revision, page.entries & log)
                return Change(pages=(left,), seen_pages=(page,))
        return None

    # The exploration of all orders.

    def explore(self, start: State, actors: list[Jump], *, is_damaged: bool = False, deaths: bool = True) -> set[Any]:
        """
        Visit every reachable state, and return the actors' results in all final states.

        Add the number of visited states to `states`.

        Raises:
            BrokenError: an invariant does not hold in one of the states.
        """
        self._known.clear()  # the requests of an actor depend on the case
        first = (start, tuple((actor, ()) for actor in actors))
        known, waiting, results = {first}, [first], set()
        while waiting:
            state, locals_ = waiting.pop()
            is_final = all(not isinstance(local[0], Jump | InFlight) for local in locals_)
            if state.revision > MOST_WRITES:
                raise BrokenError("there is no end of writes", state)
            check(state, is_damaged=is_damaged and not is_final, is_final=is_final)
            if is_final:
                results.add(tuple(local[0] for local in locals_))
            for number, local in enumerate(locals_):
                for after, moved in self._steps(state, local, actors[number], deaths):
                    found = (after, (*locals_[:number], moved, *locals_[number + 1 :]))
                    if found not in known:
                        known.add(found)
                        waiting.append(found)
        self.states += len(known)
        return results

    def _steps(self, state: State, local: Any, begin: Jump, deaths: bool) -> Iterable[tuple[State, Any]]:
        jump, responses = local
        if isinstance(jump, InFlight):
            for end in jump.ends:  # its pages become visible one by one, in any order
                seen = state._replace(veiled=tuple(veil for veil in state.veiled if veil[0] != end))
                left = jump.ends - {end}
                yield seen, (InFlight(left), responses) if left else responses
            return
        if not isinstance(jump, Jump):
            return
        request = self._next(jump, responses)[1]
        if request == Read("pause") and state.veiled:
            return  # a transaction is visible as a whole within milliseconds
        after, response = self.respond(state, request)
        outcomes = [self._next(jump, (*responses, response))[0]]
        if isinstance(request, Change):
            if after != state:
                outcomes.append(local)  # the response is lost, and the SDK makes the request again
            if request.append is None or request.pages or request.add or request.delta:
                yield state, self._next(jump, (*responses, CONFLICT))[0]
        ends = frozenset(end for end, _ in after.veiled) - {end for end, _ in state.veiled}
        for outcome in outcomes:
            yield after, (InFlight(ends), outcome) if ends else outcome
        if deaths and local != (begin, ()) and begin.program.__name__ in ("count", "deliver", "repair"):
            yield state, (begin, ())

    def _next(self, jump: Jump, responses: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return an actor's position after these responses, and its next request."""
        key = (jump.program.__name__, jump.arguments, responses)
        if key not in self._known:
            self._known[key] = self._run(jump, responses)
        return self._known[key]

    def _run(self, jump: Jump, responses: tuple[Any, ...]) -> tuple[Any, Any]:
        program = jump.program(*jump.arguments)
        try:
            request = next(program)
            for response in responses:
                request = program.send(response)
        except StopIteration as end:
            if isinstance(end.value, Jump):
                return self._next(end.value, ())
            return (end.value, ()), None
        return (jump, responses), request


def check(state: State, *, is_damaged: bool, is_final: bool) -> None:
    """
    Check the invariants of one state. While the read model is damaged, check only its structure.

    Raises:
        BrokenError: an invariant does not hold.
    """
    held = [*state.recent, *(entry for page in state.pages for entry in page.entries)]
    if len(held) != len(set(held)):
        raise BrokenError("an event is counted twice", state)
    if any(entry.time <= state.until for entry in state.recent):
        raise BrokenError("a recent entry is not later than archived_until", state)
    ends = [0, *(page.end for page in state.pages)]
    if any(page.start != before for page, before in zip(state.pages, ends[:-1], strict=True)):
        raise BrokenError("a page does not start where the one before it ends", state)
    for page in state.pages:
        if any(not page.start < entry.time <= page.end for entry in page.entries):
            raise BrokenError("an entry is not in the page that covers it", state)
    if is_damaged:
        return
    if (state.value, state.version) != (amount(held), len(held)):
        raise BrokenError("the totals are not those of the entries", state)
    if set(held) - state.log:
        raise BrokenError("an entry has no event", state)
    if is_final and state.log - set(held):
        raise BrokenError("an event is not counted", state)
