"""
Likely mistakes, each as a change of our source that is applied in memory while a test runs.

A mutant that no test catches is a gap in the tests. `python -m tests.resilience.mutants` runs each with the test that
should catch it and writes the table in docs/mutants.md.
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


@dataclass(frozen=True)
class Mutant:
    """A bug: in this module, `wrong` replaces `right`, which occurs once. The catcher must fail."""

    mistake: str
    module: str
    right: str
    wrong: str
    catcher: str


#: Without the plugins that only take time to load. pytest cannot rewrite the assertions of a module loaded before it.
_OPTIONS = (
    *(f"-pno:{name}" for name in ("hypothesispytest", "cov", "xdist", "cacheprovider")),
    "-Wignore::pytest.PytestAssertRewriteWarning",
)

#: Starts processes as forks of a process that has imported the libraries but none of our modules.
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

CRASHES = "tests/resilience/test_crash_points.py::test_fault_at_any_request_changes_no_total"
CATALOG = "tests/unit/test_catalog_copy.py"
CALLERS = "tests/integration/test_callers.py::test_retry_by_another_caller_is_the_same_increment"
PLANS = "tests/unit/test_archive.py"
ORDERS = "tests/resilience/test_interleavings.py"
REQUESTS = "tests/resilience/test_crash_points.py::test_scenario_makes_the_asserted_number_of_requests"
READS = "tests/resilience/test_consistent_reads.py"
NEIGHBOURS = "tests/resilience/test_failure_isolation.py"
SQL_CRASHES = "tests/resilience/test_sql_crash_points.py::test_fault_at_any_step_changes_no_total"
SQL = "tests/resilience/test_sql_model.py"
SQL_REBUILD = "tests/resilience/test_sql_rebuild.py"
SQL_VERIFY = "tests/resilience/test_sql_verify.py"
FAN_OUT = "tests/resilience/test_two_projections.py"
BOTH = "tests/integration/test_both_projections.py"
PROCESSES = "tests/resilience/test_process_agreement.py"
PURGE = "tests/resilience/test_purge.py"
PAST = "tests/resilience/test_past.py"

_PURGE = """\
            _append(purges)
            db.add_events(purges)
            for name, repair in projections.get_repairs(selected).items():
                result.refused |= repair(comparisons[name], lambda _: None).failed
"""
_DELETE_BEFORE_PURGE = """\
            db.add_events(purges)
            for name, repair in projections.get_repairs(selected).items():
                result.refused |= repair(comparisons[name], lambda _: None).failed
            _append(purges)
"""

_LOCK_FIRST = """\
        _lock(connection, counter_id)
        # In a second statement, because a statement that waits for a lock sees the rows as they were before the wait.
        sums = select(*rows.select_sums()).where(events.c.counter_id == counter_id)
        high, low, number = connection.execute(sums).one()
"""
_ADD_UP_FIRST = """\
        sums = select(*rows.select_sums()).where(events.c.counter_id == counter_id)
        high, low, number = connection.execute(sums).one()
        _lock(connection, counter_id)
"""

MUTANTS = {
    "duplicates-added": Mutant(
        "Recent entries are added without the condition that none of them is there",
        "chalicelib.read_model.store",
        "            *(~recent.contains(each) for each in sorted(stored)),\n",
        "",
        f"{ORDERS}::test_workers_with_or_without_common_events_in_every_order[overlapping]",
    ),
    "late-added": Mutant(
        "Recent entries are added without the condition that they are later than the archive",
        "chalicelib.read_model.store",
        "            archived_until.does_not_exist() | (archived_until < earliest_ms),\n",
        "",
        f"{CRASHES}[project, late events-the answer is lost, once]",
    ),
    "latest-for-earliest": Mutant(
        "The condition compares the latest entry instead of the earliest with the archive's end",
        "chalicelib.read_model.store",
        "    earliest_ms = min(",
        "    earliest_ms = max(",
        f"{CRASHES}[project, late and fresh events-the answer is lost, once]",
    ),
    "late-at-the-end": Mutant(
        "An entry of the last archived millisecond counts as fresh",
        "chalicelib.read_model.store",
        "(archived_until < earliest_ms)",
        "(archived_until <= earliest_ms)",
        "tests/resilience/test_archived_queries.py::test_an_event_of_the_last_archived_millisecond_is_late",
    ),
    "room-forgotten": Mutant(
        "Recent entries are added without the condition that they fit",
        "chalicelib.read_model.store",
        "            recent.does_not_exist() | has_room,\n",
        "",
        f"{REQUESTS}[project, a batch that archives]",
    ),
    "page-unconditional": Mutant(
        "A page is written without the condition that it is unchanged",
        "chalicelib.read_model.store",
        "        else PageItem.revision == page.revision_before,\n",
        "        else None,\n",
        f"{ORDERS}::test_two_workers_count_all_events_in_every_order[two workers with late events of one page]",
    ),
    "page-revision-kept": Mutant(
        "A page keeps its revision when it is written",
        "chalicelib.read_model.items",
        "        revision=(page.revision_before or 0) + 1,\n",
        "        revision=page.revision_before or 1,\n",
        f"{ORDERS}::test_two_workers_count_all_events_in_every_order[two workers with late events of one page]",
    ),
    "archived-unconditionally": Mutant(
        "Entries are archived without the condition that the counter is unchanged",
        "chalicelib.read_model.store",
        "    return actions, revision_condition(plan.revision)\n",
        "    return actions, None\n",
        f"{ORDERS}::test_two_workers_count_all_events_in_every_order[two workers on an almost full counter]",
    ),
    "revision-kept": Mutant(
        "The counter keeps its revision when entries are added",
        "chalicelib.read_model.store",
        "    return [*_add_totals(entries, now_ms), recent.add(stored)], condition\n",
        "    actions = _add_totals(entries, now_ms)\n"
        "    return [*actions[:2], actions[3], recent.add(stored), CounterItem.revision.add(0)], condition\n",
        f"{ORDERS}::test_a_worker_and_a_swap_in_every_order[35]",
    ),
    "recent-replaced": Mutant(
        "The recent entries are replaced by the new ones",
        "chalicelib.read_model.store",
        "recent.add(stored)",
        "recent.set(stored)",
        f"{ORDERS}::test_workers_with_or_without_common_events_in_every_order[different]",
    ),
    "value-set": Mutant(
        "The value is set to the batch's sum instead of adding it",
        "chalicelib.read_model.store",
        "        CounterItem.value.add(sum(entry.amount for entry in entries)),\n",
        "        CounterItem.value.set(sum(entry.amount for entry in entries)),\n",
        f"{ORDERS}::test_workers_with_or_without_common_events_in_every_order[different]",
    ),
    "version-by-one": Mutant(
        "The version goes up by one for each batch",
        "chalicelib.read_model.store",
        "CounterItem.version.add(len(entries))",
        "CounterItem.version.add(1)",
        f"{ORDERS}::test_workers_with_or_without_common_events_in_every_order[different]",
    ),
    "archive-end-kept": Mutant(
        "Entries are archived without changing `archived_until`",
        "chalicelib.domain.archive",
        "frozenset(recent), archived[-1].recorded_at_ms)",
        "frozenset(recent), part.archived_until_ms)",
        f"{CRASHES}[project, a batch that archives-the answer is lost, once]",
    ),
    "batch-for-missing": Mutant(
        "A late batch is counted completely, including the entries that its page already has",
        "chalicelib.domain.archive",
        ".difference(page.entries):",
        ".difference(()):",
        f"{CRASHES}[project, late events-the answer is lost, once]",
    ),
    "recent-not-searched": Mutant(
        "A batch is archived and added completely, including its entries that are already recent",
        "chalicelib.domain.archive",
        "entry.recorded_at_ms > part.archived_until_ms and entry not in part.recent",
        "entry.recorded_at_ms > part.archived_until_ms",
        f"{CRASHES}[project, a batch larger than what is recent-the answer is lost, once]",
    ),
    "half-of-a-page-forgotten": Mutant(
        "A page is split, but the new pages are not written",
        "chalicelib.domain.archive",
        "    yield from first\n",
        "",
        f"{CRASHES}[project, late events that split a page-the answer is lost, once]",
    ),
    "page-end-moved": Mutant(
        "An amended page ends with its last entry, so that no page covers the later times",
        "chalicelib.domain.archive",
        "PageWrite(last.start_ms, page.end_ms, page.revision, last.entries)",
        "PageWrite(last.start_ms, last.end_ms, page.revision, last.entries)",
        f"{PLANS}::test_a_page_keeps_an_end_that_is_later_than_its_entries",
    ),
    "millisecond-split": Mutant(
        "Entries of one millisecond are split over two pages",
        "chalicelib.domain.archive",
        "        while end < len(entries) and entries[end].recorded_at_ms == entries[end - 1].recorded_at_ms:\n"
        "            end += 1\n",
        "",
        f"{PLANS}::test_a_split_divides_no_millisecond_and_leaves_similar_sizes",
    ),
    "millisecond-divided": Mutant(
        "Some entries of one millisecond are archived while others stay recent",
        "chalicelib.domain.archive",
        "        or ordered[cut].recorded_at_ms == ordered[cut - 1].recorded_at_ms\n",
        "",
        f"{PLANS}::test_entries_of_one_millisecond_are_archived_together",
    ),
    "nothing-kept": Mutant(
        "Archiving includes the newest entries, so that the next events are late",
        "chalicelib.domain.archive",
        "    cut = max(1, len(ordered) - kept)\n",
        "    cut = len(ordered)\n",
        f"{PLANS}::test_young_entries_stay_recent_as_far_as_there_is_room",
    ),
    "pages-before-the-counter": Mutant(
        "The pages are read before the counter, so that an entry archived in between is missed",
        "chalicelib.read_model.planner",
        "    pages, planned = _read_pages(part, entries)\n",
        "    pages, planned = store.read_pages(part.key, 0, 100), entries\n"
        "    part = store.read_part(part.key)\n"
        "    pages = pages or store.read_pages(part.key, 0, 100)\n",
        f"{ORDERS}::test_two_workers_count_all_events_in_every_order[two workers on a full counter]",
    ),
    "conflict-for-done": Mutant(
        "A conflict while counting is treated as success",
        "chalicelib.read_model.writer",
        "            return step, store.execute_plan(current, step.plan, clock.now_ms())\n",
        "            return step, store.execute_plan(current, step.plan, clock.now_ms())\n        return step, None\n",
        f"{ORDERS}::test_two_workers_count_all_events_in_every_order[two workers with late events of one page]",
    ),
    "refusal-for-done": Mutant(
        "A refused update is treated as if its events were counted",
        "chalicelib.read_model.writer",
        "            yield from (counted for counted, _ in _count_by_plans(key, entries, changed.part))\n",
        "            return\n",
        f"{ORDERS}::test_workers_with_or_without_common_events_in_every_order[overlapping]",
    ),
    "retry-without-reading": Mutant(
        "After a conflict, the next attempt plans from stale reads",
        "chalicelib.read_model.writer",
        "        current, part = part or store.read_part(key), None\n",
        "        current = part = part or store.read_part(key)\n",
        f"{ORDERS}::test_two_workers_count_all_events_in_every_order[two workers on an almost full counter]",
    ),
    "rest-forgotten": Mutant(
        "Late events beyond the pages of one plan are dropped",
        "chalicelib.read_model.writer",
        "        entries, part = entries - step.entries, None\n",
        "        entries, part = frozenset(), None\n",
        f"{CRASHES}[project, late events in many pages-the answer is lost, once]",
    ),
    "never-read-first": Mutant(
        "A redelivered batch is written first, and DynamoDB charges the refused write",
        "chalicelib.projector",
        ' if times not in ("0", "1"):\n            return True',
        ' if times not in ("0", "1"):\n            return False',
        f"{READS}::test_a_redelivery_of_counted_events_costs_one_read_and_no_write",
    ),
    "stale-counter": Mutant(
        "The counter is read with eventual consistency",
        "chalicelib.read_model.store",
        "CounterItem.query(counter_id, consistent_read=True)",
        "CounterItem.query(counter_id, consistent_read=False)",
        f"{READS}::test_counter_just_written_is_read_as_written",
    ),
    "stale-part": Mutant(
        "The part of a redelivered batch is read with eventual consistency",
        "chalicelib.read_model.store",
        "range_key=str(key.part), consistent_read=True)",
        "range_key=str(key.part), consistent_read=False)",
        f"{READS}::test_a_redelivery_of_counted_events_costs_one_read_and_no_write",
    ),
    "swap-unconditional": Mutant(
        "A swap is made without the condition that the counter is unchanged",
        "chalicelib.read_model.writer",
        "store.include_plan(transaction, own.key, plan, now_ms, own.revision)",
        "store.include_plan(transaction, own.key, plan, now_ms, None)",
        f"{ORDERS}::test_two_swaps_from_one_version_in_every_order[one part]",
    ),
    "other-parts-unchecked": Mutant(
        "A swap is made without the condition that the counter's other parts are unchanged",
        "chalicelib.read_model.writer",
        "            for other in by_key.values():\n                store.include_revision_check(transaction, other)\n",
        "",
        f"{ORDERS}::test_two_swaps_from_one_version_in_every_order[four parts]",
    ),
    "missing-part-unchecked": Mutant(
        "An empty part is treated as unchanged, even if events were counted in it since",
        "chalicelib.read_model.store",
        "CounterItem.revision == revision if revision else CounterItem.revision.does_not_exist()",
        "(CounterItem.revision == revision) | CounterItem.revision.does_not_exist() "
        "if revision else CounterItem.counter_id.does_not_exist() | (CounterItem.revision > 0)",
        f"{ORDERS}::test_two_swaps_from_one_version_in_every_order[one part]",
    ),
    "any-refusal-a-repetition": Mutant(
        "A swap that lost is treated as a retry, without checking which condition failed",
        "chalicelib.read_model.writer",
        "        if event_log.is_duplicate(refused):\n",
        "        if refused.tables:\n",
        f"{ORDERS}::test_two_swaps_from_one_version_in_every_order[one part]",
    ),
    "throttled-for-contended": Mutant(
        "A throttled transaction is treated as a conflict and retried at once",
        "chalicelib.aws.dynamodb",
        "        if reasons and set(reasons) <= {None, _CONDITION_FAILED, _CONFLICT}:\n",
        "        if reasons:\n",
        f"{NEIGHBOURS}::test_throttled_transaction_is_an_outage_and_not_retried",
    ),
    "contended-for-throttled": Mutant(
        "A conflicting transaction is treated as an outage and not retried",
        "chalicelib.aws.dynamodb",
        "<= {None, _CONDITION_FAILED, _CONFLICT}",
        "<= {None, _CONDITION_FAILED}",
        f"{NEIGHBOURS}::test_conflicting_transaction_is_retried",
    ),
    "update-conflict-an-outage": Mutant(
        "An update that conflicts with a transaction is treated as an outage and not retried",
        "chalicelib.aws.dynamodb",
        '            case "TransactionConflictException":\n                raise RefusedError from cause\n',
        "",
        f"{NEIGHBOURS}::test_conflicting_update_is_retried",
    ),
    "first-failure-raised": Mutant(
        "One counter's failure stops the others in its batch",
        "chalicelib.read_model.writer",
        "            failures[key.counter_id] = failure\n",
        "            raise\n",
        f"{NEIGHBOURS}::test_damaged_counter_fails_alone",
    ),
    "success-before-put": Mutant(
        "Success is reported before the event is durable",
        "chalicelib.command_handlers",
        "    appended = event_log.append(event, counted_at_once=command.count_at_once)\n",
        "    try:\n        appended = event_log.append(event)\n"
        "    except Exception:\n        appended = event_log.Appended(event, is_retry=False)\n",
        f"{CRASHES}[a plain increment-the request never arrives, however often]",
    ),
    "append-unconditional": Mutant(
        "The append overwrites the event that has its id",
        "chalicelib.event_log",
        ".save(condition=EventItem.event_id.does_not_exist())\n        except",
        ".save()\n        except",
        f"{ORDERS}::test_one_key_with_two_amounts_in_every_order",
    ),
    "append-within-unconditional": Mutant(
        "A swap's append overwrites the event that has its id",
        "chalicelib.event_log",
        "transaction.save(item, condition=EventItem.event_id.does_not_exist())",
        "transaction.save(item)",
        f"{CRASHES}[a keyed increment sent again as a swap-the answer is lost, once]",
    ),
    "repetition-by-time": Mutant(
        "A retry is treated as a new increment, because its time differs",
        "chalicelib.domain.events",
        "for name, rule in event.rules.items() if rule.is_compared",
        "for name, rule in event.rules.items()",
        f"{CRASHES}[a keyed increment sent again-the answer is lost, once]",
    ),
    "retry-by-version": Mutant(
        "A retry after a switch of WRITERS is another increment, because its event has another version",
        "chalicelib.domain.events",
        "return first.type_name == second.type_name and",
        "return type(first) is type(second) and",
        f"{CALLERS}[first0-jwt-increment]",
    ),
    "part-by-hash": Mutant(
        "The part is computed with Python's `hash`, which differs in each process",
        "chalicelib.domain.events",
        "return int(event_id[-12:], 16) % parts",
        "return hash(event_id) % parts",
        f"{PROCESSES}::test_an_event_belongs_to_the_same_part_in_every_process",
    ),
    "entry-without-its-time": Mutant(
        "An entry's bytes begin with the second instead of the millisecond",
        "chalicelib.domain.entries",
        '        entry.recorded_at_ms.to_bytes(_TIME_BYTES, "big")',
        '        (entry.recorded_at_ms // 1000).to_bytes(_TIME_BYTES, "big")',
        f"{PROCESSES}::test_an_event_has_the_same_entry_in_every_process",
    ),
    "entry-with-the-time-of-delivery": Mutant(
        "An entry has the time at which it is counted, which differs at each delivery",
        "chalicelib.domain.entries",
        "    return Entry(event.recorded_at_ms, id_bytes",
        "    return Entry(__import__('time').time_ns() // 1_000_000, id_bytes",
        f"{CRASHES}[project, one event-the function dies after it]",
    ),
    "page-without-signs": Mutant(
        "A page keeps amounts without their signs",
        "chalicelib.domain.entries",
        "        _append_varint(page, _zigzag(amount))\n",
        "        _append_varint(page, _zigzag(abs(amount)))\n",
        "tests/unit/test_entries.py::test_an_archive_page_has_its_golden_bytes",
    ),
    "parked-before-counted": Mutant(
        "Parking comes before counting, so that a failure to park leaves valid messages uncounted",
        "chalicelib.projector",
        "        new = count(events, likely_counted)\n",
        "        invalid = [message.dead_letter for message in messages if message.dead_letter]\n"
        "        dead_letters.park(invalid, projection.dead_letter_queue(current.stage))\n"
        "        new = count(events, likely_counted)\n",
        f"{NEIGHBOURS}::test_broken_message_is_redelivered_if_parking_fails",
    ),
    "parked-before-sent": Mutant(
        "Parking comes before publishing, so that a failure to park leaves valid events unpublished",
        "chalicelib.publisher",
        "    current = settings.current()\n",
        "    current = settings.current()\n"
        "    dead_letters.park(parked, current.projections[0].dead_letter_queue(current.stage))\n",
        f"{NEIGHBOURS}::test_broken_record_is_redelivered_if_parking_fails",
    ),
    "send-forgotten": Mutant(
        "A failed send is ignored to keep the stream moving",
        "chalicelib.publisher",
        "        raise failures[0]\n",
        "        pass\n",
        f"{CRASHES}[publish, a batch-the request never arrives, however often]",
    ),
    "first-queue-raised": Mutant(
        "A failure to send to one projection's queue stops the send to the other",
        "chalicelib.publisher",
        "            failures.append(failure)\n",
        "            raise\n",
        f"{FAN_OUT}::test_outage_of_one_queue_keeps_no_message_from_the_other",
    ),
    "second-queue-forgotten": Mutant(
        "A batch counts as published once the first projection's queue has it",
        "chalicelib.publisher",
        "    if failures:\n",
        "    if len(failures) == len(current.projections):\n",
        f"{FAN_OUT}::test_outage_of_one_queue_keeps_no_message_from_the_other",
    ),
    "keys-in-memory": Mutant(
        "The event of a key is kept in the process's memory",
        "chalicelib.command_handlers",
        'return str(uuid.uuid5(_KEYED_EVENTS, f"{command.counter_id}/{command.idempotency_key}"))',
        "return choose_event_id.__dict__.setdefault("
        "(command.counter_id, command.idempotency_key), generate_event_id(now_ms))",
        f"{PROCESSES}::test_key_names_the_same_event_in_every_process",
    ),
    "deduplicated-by-message": Mutant(
        "Duplicates are detected by the queue's message id, which is new at each send",
        "chalicelib.projector",
        "    events = [event for event in decoded if event.is_counted]\n",
        "    events = [event for event in decoded if event.is_counted]\n"
        "    import dataclasses, uuid\n"
        "    events = [dataclasses.replace(event, event_id=str(uuid.uuid5(uuid.UUID(message_id),\n"
        "        event.event_id))) for event in events]\n",
        f"{CRASHES}[project, one event-the function dies after it]",
    ),
    "retry-taken-for-conflict": Mutant(
        "The SDK's retry, which meets its own first attempt, is treated as a conflict",
        "chalicelib.event_log",
        "                    return Appended(get_recorded(event), is_retry=True)\n",
        "                    raise KeyReusedError(event.counter_id, event.event_id) from error\n",
        f"{CRASHES}[a plain increment-the answer is lost, once]",
    ),
    "key-without-counter": Mutant(
        "The event id is derived from the idempotency key without the counter id",
        "chalicelib.command_handlers",
        '(_KEYED_EVENTS, f"{command.counter_id}/{command.idempotency_key}")',
        '(_KEYED_EVENTS, f"{command.idempotency_key}")',
        f"{PROCESSES}::test_key_names_the_same_event_in_every_process",
    ),
    "poison-raised": Mutant(
        "An invalid message raises an error, so that its batch is redelivered without end",
        "chalicelib.codec",
        "            except NotUnderstoodError as error:\n                reasons.append(error.reason)\n",
        "            except NotUnderstoodError:\n                raise\n",
        f"{CRASHES}[project, a message that is good in part-the answer is lost, once]",
    ),
    "poison-dropped": Mutant(
        "An invalid record is dropped",
        "chalicelib.publisher",
        "        dead_letters.park(parked, projection.dead_letter_queue(current.stage))\n",
        "        pass\n",
        f"{CRASHES}[publish, a batch with poison-the answer is lost, once]",
    ),
    "stale-event": Mutant(
        "The event of a key is read with eventual consistency",
        "chalicelib.aws.dynamodb",
        "model.get(hash_key, range_key, consistent_read=not stale)",
        "model.get(hash_key, range_key, consistent_read=False)",
        f"{READS}::test_event_just_recorded_is_read_as_recorded",
    ),
    "repetition-not-looked-at": Mutant(
        "A repeated key is answered from the request instead of the recorded event",
        "chalicelib.event_log",
        "return Appended(get_recorded(event), is_retry=True)",
        "return Appended(event, is_retry=True)",
        f"{ORDERS}::test_one_key_with_two_amounts_in_every_order",
    ),
    "contention-acknowledged": Mutant(
        "The projector reports success although every attempt conflicted, and SQS deletes the message",
        "chalicelib.projector",
        "            raise\n        telemetry.log_not_counted(",
        "            return {'batchItemFailures': []}\n        telemetry.log_not_counted(",
        f"{NEIGHBOURS}::test_failing_counter_blocks_no_other_and_stays_uncounted[hot_conflicts]",
    ),
    "named-unheard": Mutant(
        "The projector returns uncounted messages as failures although partial responses are off, and SQS deletes them",
        "chalicelib.projector",
        "        if not current.partial_batch_responses or len(failed) == len(messages):\n",
        "        if len(failed) == len(messages):\n",
        f"{NEIGHBOURS}::test_whole_batch_is_redelivered_without_partial_responses",
    ),
    "neighbours-parked-too-early": Mutant(
        "The invalid part of a message with uncounted events is parked at each delivery",
        "chalicelib.projector",
        "if message.dead_letter and message not in failed]",
        "if message.dead_letter]",
        f"{NEIGHBOURS}::test_poison_message_is_parked_once_its_good_events_are_counted",
    ),
    "late-attempts": Mutant(
        "An attempt begins without checking the function's remaining time",
        "chalicelib.aws.session",
        "time_left_ms() / 1000 - RESERVE_S",
        "time_left_ms() / 1000",
        "tests/resilience/test_deadlines.py::test_batch_stopped_at_the_deadline_is_counted_when_redelivered",
    ),
    "parking-forgotten": Mutant(
        "A failure to park is ignored to keep the queue moving",
        "chalicelib.projector",
        "    dead_letters.park(invalid, projection.dead_letter_queue(current.stage))\n",
        "    try:\n"
        "        dead_letters.park(invalid, projection.dead_letter_queue(current.stage))\n"
        "    except Exception:\n        pass\n",
        f"{CRASHES}[project, a batch with poison-the request never arrives, however often]",
    ),
    "sql-totals-apart": Mutant(
        "The SQL totals are updated in a transaction of their own",
        "chalicelib.extras.sql.read_model",
        "        upsert = insert(counters)\n",
        "        connection.commit()\n        upsert = insert(counters)\n",
        f"{SQL_CRASHES}[one event-sqlite-the function dies before it]",
    ),
    "sql-totals-of-all": Mutant(
        "The SQL totals are increased by the whole batch, including events already counted",
        "chalicelib.extras.sql.read_model",
        "_sum_by_counter(new))",
        "_sum_by_counter(rows))",
        f"{SQL_CRASHES}[a batch that is counted in part-sqlite-the function dies before it]",
    ),
    "sql-read-before-insert": Mutant(
        "Rows are looked up before the insert, so that two workers find the same row missing",
        "chalicelib.extras.sql.read_model",
        "    if_new = insert(event_rows).on_conflict_do_nothing(index_elements=key).returning(*key)\n"
        "    values = [encode_row(row) for row in rows]\n"
        "    added = frozenset((row.counter_id, row.event_id) for row in connection.execute(if_new, values))\n",
        "    there = {tuple(row) for row in connection.execute(event_rows.select().with_only_columns(*key))}\n"
        "    added = frozenset(row[:2] for row in rows) - there\n"
        "    inserted = insert(event_rows).on_conflict_do_nothing(index_elements=key)\n"
        "    connection.execute(inserted, [encode_row(row) for row in rows])\n",
        f"{SQL}::test_event_in_overlapping_batches_is_new_to_one_worker[postgresql]",
    ),
    "sql-total-set": Mutant(
        "The SQL total is set to the batch's sum instead of adding it",
        "chalicelib.extras.sql.read_model",
        "counters.c[name] + upsert.excluded[name]",
        "upsert.excluded[name]",
        f"{SQL}::test_any_delivery_schedule_ends_at_the_sum_of_the_events[sqlite]",
    ),
    "sql-conflict-raised": Mutant(
        "A conflicting SQL transaction is treated as an outage and not retried",
        "chalicelib.extras.sql.read_model",
        'locked or getattr(error, "sqlstate", None) in _CONFLICTS',
        "locked",
        f"{SQL}::test_conflict_with_any_code_is_retried[2-40001-postgresql]",
    ),
    "sql-recomputed-unlocked": Mutant(
        "A counter's rows are summed before its totals are locked, so that rows counted in between are missed",
        "chalicelib.extras.sql.repair",
        _LOCK_FIRST,
        _ADD_UP_FIRST,
        f"{SQL_REBUILD}::test_worker_that_counts_at_any_step_counts_once[postgresql]",
    ),
    "sql-recomputed-in-one-statement": Mutant(
        "A counter's totals are set by one statement, which does not see the rows of the transaction it waited for",
        "chalicelib.extras.sql.repair",
        "        _lock(connection, counter_id)\n        # In a",
        "        from sqlalchemy import func\n"
        "        own = events.c.counter_id == counter_id\n"
        "        total = select(func.sum(events.c.amount)).where(own).scalar_subquery()\n"
        "        number = select(func.count()).select_from(events).where(own).scalar_subquery()\n"
        "        connection.execute(_update(counter_id).values(value=total, version=number))\n"
        "        return\n        # In a",
        f"{SQL_REBUILD}::test_recompute_after_a_wait_for_a_lock_includes_new_rows[True-postgresql]",
    ),
    "sql-replaced-apart": Mutant(
        "A row is removed in one transaction and its replacement counted in the next",
        "chalicelib.extras.sql.repair",
        "        if replacements:\n            read_model.add",
        "        if replacements:\n            connection.commit()\n            read_model.add",
        f"{SQL_REBUILD}::test_worker_that_counts_at_any_step_counts_once[sqlite]",
    ),
    "sql-removed-with-its-amount": Mutant(
        "A row without an event is removed, but its amount stays in the counter",
        "chalicelib.extras.sql.repair",
        "literal(sum(amounts), Total)",
        "literal(0, Total)",
        f"{SQL_REBUILD}::test_rebuild_repairs_each_damage[sqlite-a row has no event]",
    ),
    "sql-kept-as-it-was": Mutant(
        "An existing row counts as correct, whatever its content",
        "chalicelib.extras.sql.row_staging",
        "IS NOT (kept.type",
        "IS NULL AND (kept.type",
        f"{SQL_REBUILD}::test_rebuild_repairs_each_damage[sqlite-an amount is wrong]",
    ),
    "sql-strangers-unasked": Mutant(
        "A row whose event was recorded after the log was read is reported as unknown",
        "chalicelib.extras.sql.row_comparison",
        "if event_ids and is_counter_id(counter_id) else []",
        "if False else []",
        f"{SQL_VERIFY}::test_events_counted_at_any_moment_of_verify_are_not_differences[sqlite]",
    ),
    "sql-missing-told-at-once": Mutant(
        "An event counted after the rows were read is reported as uncounted",
        "chalicelib.extras.sql.row_comparison",
        "            self.rows.add(current.values())\n",
        "",
        f"{SQL_VERIFY}::test_event_counted_after_the_rows_were_read_is_not_missing[sqlite]",
    ),
    "sql-totals-of-two-moments": Mutant(
        "A counter's totals and rows are read in two transactions, so that traffic looks like a difference",
        "chalicelib.extras.sql.rows",
        "    for of, counter_id, high, low, number in read_model.fetch(engine, query):\n",
        "    queries = (totals, rows.group_by(events.c.counter_id))\n"
        "    for of, counter_id, high, low, number in "
        "[row for query in queries for row in read_model.fetch(engine, query)]:\n",
        f"{SQL_VERIFY}::test_verify_next_to_worker_threads_reports_no_difference[postgresql]",
    ),
    "given-up-for-the-first": Mutant(
        "A discarded stream batch is sent from the log to the first projection only",
        "ops.maintenance.redrive",
        "            for projection in settings.projections:\n",
        "            for projection in settings.projections[:1]:\n",
        f"{BOTH}::test_discarded_stream_batch_is_sent_to_both_projections",
    ),
    "dead-letters-for-the-first": Mutant(
        "All dead letters are sent back to the first projection's queue",
        "ops.maintenance.redrive",
        "        for projection in settings.projections\n"
        "        if is_for_all or projection.name == letter.projection\n",
        "        for projection in settings.projections[:1]\n",
        f"{BOTH}::test_redrive_returns_dead_letters_to_their_own_projection",
    ),
    "split-drops-one": Mutant(
        "An event that does not fit into a message is dropped",
        "chalicelib.codec",
        "            entries, event_ids, size = [], [], 0\n",
        "            entries, event_ids, size = [], [], 0\n            continue\n",
        "tests/unit/test_codec.py::test_a_message_never_outgrows_the_queue",
    ),
    "last-member-counts": Mutant(
        "The last of duplicate JSON members counts",
        "chalicelib.codec",
        "json.loads(body, object_pairs_hook=_build_object)",
        "json.loads(body)",
        "tests/unit/test_codec.py::test_a_message_that_names_a_member_twice_says_nothing",
    ),
    "last-header-counts": Mutant(
        "The last of headers that differ only in case counts",
        "chalicelib.api.requests",
        "headers.setdefault(name.lower(), []).extend(values)",
        "headers[name.lower()] = list(values)",
        "tests/unit/test_requests.py::test_header_repeated_in_another_case_is_malformed",
    ),
    "requests-shared": Mutant(
        "The request is read from a variable that all threads share",
        "app",
        "requests.parse_request(_received.get())",
        "requests.parse_request(app.current_request)",
        "tests/resilience/test_races.py::test_requests_in_threads_get_their_own_answers",
    ),
    "seen-in-memory": Mutant(
        "Seen messages are kept in the process's memory before they are counted",
        "chalicelib.projector",
        "    failed: list[_Message] = []\n",
        "    failed: list[_Message] = []\n"
        "    seen = project.__dict__.setdefault('seen', set())\n"
        "    events = [event for event in events if event.event_id not in seen]\n"
        "    seen |= {event.event_id for event in events}\n",
        f"{CRASHES}[project, one event-the request never arrives, however often]",
    ),
    "keys-of-a-process": Mutant(
        "Event ids are derived from idempotency keys with a random value of each process",
        "chalicelib.command_handlers",
        'uuid.UUID("3f0a1c1e-6b0e-5d0f-9a5b-8c6a2c6f4b11")',
        "uuid.uuid4()",
        f"{PROCESSES}::test_key_names_the_same_event_in_every_process",
    ),
    "origin-reflected": Mutant(
        "Each response names the origin that asked, whether or not it is allowed",
        "chalicelib.api.responses",
        "origin if origin in allowed else allowed[0]",
        "origin or allowed[0]",
        "tests/unit/test_origins.py::test_another_origin_gets_the_first_one_named",
    ),
    "vary-replaced": Mutant(
        "A response that varies by origin no longer says that it also varies by `Accept`",
        "chalicelib.api.responses",
        'f"{varying}, Origin" if varying else "Origin"',
        '"Origin"',
        "tests/unit/test_origins.py::test_badge_that_varies_by_accept_also_varies_by_origin",
    ),
    "hidden-readable": Mutant(
        "A hidden counter is only closed",
        "chalicelib.access.names",
        "counter_id in catalog.hidden or not (",
        "not (",
        "tests/unit/test_names.py::test_verdict_on_each_combination_of_sets",
    ),
    "check-after-the-view": Mutant(
        "A counter is checked after the view has read or written",
        "app",
        "                _check_counter(**parts)\n                return function(**parts)\n",
        "                found = function(**parts)\n                _check_counter(**parts)\n"
        "                return found\n",
        f"{CATALOG}::test_unknown_counter_is_refused_without_a_request",
    ),
    "catalog-read-each-time": Mutant(
        "Each request reads the catalog",
        "chalicelib.access.catalog",
        "not 0 <= now_ms - self._read_at_ms < MAX_AGE_MS",
        "now_ms >= 0",
        f"{CATALOG}::test_copy_is_read_once_in_thirty_seconds",
    ),
    "catalog-kept-forever": Mutant(
        "A process keeps its copy of the catalog forever",
        "chalicelib.access.catalog",
        "if self._catalog is None or not 0 <= now_ms - self._read_at_ms < MAX_AGE_MS:",
        "if self._catalog is None:",
        f"{CATALOG}::test_copy_is_replaced_after_thirty_seconds",
    ),
    "catalog-copy-dropped": Mutant(
        "A failed read of the catalog refuses requests, although the process has a copy",
        "chalicelib.access.catalog",
        "                if self._catalog is None:\n                    raise\n",
        "                raise\n",
        f"{CATALOG}::test_copy_is_kept_while_the_table_fails",
    ),
    "purged-after-deletion": Mutant(
        "A purge deletes counters from the read model before it appends its events to the log",
        "ops.maintenance.purge",
        _PURGE,
        _DELETE_BEFORE_PURGE,
        f"{PURGE}::test_purge_cut_off_at_any_request_is_finished_by_the_next",
    ),
    "purged-forever": Mutant(
        "A purge voids the events of all times",
        "chalicelib.extras.verification.staging_db",
        "(r.counter_id, r.part) AND p.until_ms >= r.recorded_at_ms);",
        "(r.counter_id, r.part));",
        f"{PURGE}::test_events_after_a_purge_count_as_usual",
    ),
    "purged-before": Mutant(
        "A purge does not void the events of its last millisecond",
        "chalicelib.extras.verification.purges",
        "event.recorded_at_ms <= self._until_ms",
        "event.recorded_at_ms < self._until_ms",
        f"{PURGE}::test_tracker_finds_void_events_from_any_position",
    ),
    "purged-in-one-part": Mutant(
        "A purge is appended to the first part only",
        "ops.maintenance.purge",
        "        for part in range(parts):\n",
        "        for part in range(1):\n",
        f"{PURGE}::test_each_part_has_a_purge_that_sorts_before_its_events",
    ),
    "purged-by-the-clock": Mutant(
        "A purge voids events until the time of the operator's clock",
        "ops.maintenance.purge",
        "Purged(counter_id, event_id, 0, now_ms, until_ms, ",
        "Purged(counter_id, event_id, 0, now_ms, now_ms, ",
        f"{PURGE}::test_events_after_a_purge_count_as_usual",
    ),
    "purge-published": Mutant(
        "A purge is published, and so counted",
        "chalicelib.publisher",
        "            if event.is_counted:\n",
        "            if True:\n",
        f"{PURGE}::test_publish_and_project_neither_count_nor_park_a_purge",
    ),
    "purge-projected": Mutant(
        "A purge in a message is counted",
        "chalicelib.projector",
        "for event in decoded if event.is_counted]",
        "for event in decoded]",
        f"{PURGE}::test_publish_and_project_neither_count_nor_park_a_purge",
    ),
    "purge-missed-by-a-check": Mutant(
        "The check counts missed events without a look for a purge since it read them",
        "chalicelib.extras.verification.scheduled_check",
        "event_log.read_purge(partitions.format_partition(key)) if missed else NEVER_PURGED",
        "NEVER_PURGED",
        f"{PURGE}::test_check_that_read_the_log_before_a_purge_counts_nothing",
    ),
    "purge-missed-by-a-rebuild": Mutant(
        "A rebuild counts missing events without a look for a purge since it read the log",
        "chalicelib.extras.verification.part_comparison",
        "            _look_up_purge(db, key)\n",
        "",
        f"{PURGE}::test_rebuild_that_read_the_log_before_a_purge_counts_nothing",
    ),
    "purge-undone-by-a-retry": Mutant(
        "A client's retry counts its purged event again",
        "chalicelib.command_handlers",
        "    if event.recorded_at_ms <= event_log.read_purge(event_log.locate(event).partition):\n",
        "    if False:\n",
        f"{PURGE}::test_retry_of_a_purged_increment_is_a_replay_and_counts_nothing",
    ),
    "purged-while-in-flight": Mutant(
        "A counter with uncounted events is purged",
        "ops.maintenance.purge",
        "    if any(comparison.count_pending(0, 0) for comparison in comparisons):\n",
        "    if False:\n",
        f"{PURGE}::test_counter_with_an_obstacle_is_refused_and_others_are_purged",
    ),
    "purged-rows-kept": Mutant(
        "The rows of purged events are not compared",
        "chalicelib.extras.sql.row_comparison",
        "                yield PURGED_ROW, rows\n",
        "                pass\n",
        "tests/resilience/test_sql_purge.py::test_purge_deletes_rows_and_totals",
    ),
    "past-read-once": Mutant(
        "The past is read once, although a late event may be counted between the reads of counter and page",
        "chalicelib.domain.past",
        "        self.may_be_torn = self.may_be_torn or self.part.amended > 0 or page.revision > 1\n",
        "",
        f"{PAST}::test_late_event_counted_during_the_query_is_not_subtracted",
    ),
    "past-second-reading": Mutant(
        "The second reading of the past is taken as it is, although it differs from the first",
        "chalicelib.read_model.past",
        "        if reading == previous or not reading.may_be_torn:\n",
        "        if previous or not reading.may_be_torn:\n",
        f"{PAST}::test_late_events_during_each_reading_are_a_503",
    ),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the mutated module in place of the original."""

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
    """Return the source with the bug. The text `right` must occur exactly once."""
    assert source.count(mutant.right) == 1, f"{mutant.module} does not hold this exactly once: {mutant.right!r}"
    return source.replace(mutant.right, mutant.wrong)


def is_caught(name: str) -> bool:
    """Return whether the mutant's catcher fails. The other tests show that it passes without the mistake."""
    mutant = MUTANTS[name]
    mutate(mutant, (PROJECT / f"{mutant.module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    with tempfile.NamedTemporaryFile("r") as output:
        process = _FORKS.Process(target=_run_catcher, args=(name, output.name))
        process.start()
        process.join()
        assert process.exitcode in (_PASSED, _FAILED), f"{name} could not be run:\n{output.read()}"
    return process.exitcode == _FAILED


def _run_catcher(name: str, output: str) -> None:
    """Run the mutant's catcher in this new process. Exit with pytest's code, and a number that no crash has."""
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
    """Run these mutants, one for each processor at a time. Each result says whether the mutant was caught."""
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
        "Likely mistakes in a system like this one. Each is applied to our own source, in memory, and the test next to",
        "it must fail. `make mutants` runs all of them and writes this table.",
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
