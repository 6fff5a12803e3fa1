"""The contract of a store, held by both backends."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from searec.data.schema import DAY
from searec.errors import DataError, SettingsError
from searec.interests.interest_graph import InterestGraph
from searec.store.job_queue import SECOND, Counts, Job
from searec.store.store import Store
from searec.store.tables import interest_graphs, interests

Graphs = Callable[..., InterestGraph]
Stores = Callable[..., Store]


def take(store: Store, worker: str = "w", count: int = 10, seconds: float = 60.0) -> list[Job]:
    return store.jobs.lease(worker, count, seconds)


def take_one(store: Store, worker: str = "w", seconds: float = 60.0) -> Job:
    (job,) = store.jobs.lease(worker, 1, seconds)
    return job


def users(jobs: list[Job]) -> list[str]:
    return [job.user for job in jobs]


# Interests


def test_what_is_written_is_read(store: Store, stores: Stores, clock: Any, graph: Graphs) -> None:
    assert store.interests.read("u") is None and store.interests.read_graph("u") is None
    one, two = graph("u", "running socks", "gym bags"), graph("ü 2 ", "tents", at=5)
    store.interests.write([one, two])
    for reader in (store, stores()):
        kept = reader.interests.read("u")
        assert kept is not None
        assert (kept.written_at, kept.stale, kept.revision) == (clock.now, False, 1)
        assert [tuple(told) for told in kept.interests()] == [
            (i.text, pytest.approx(i.confidence), i.reason) for i in one.interests()
        ]
        assert reader.interests.read_graph("u") == one and reader.interests.read_graph("ü 2 ") == two
    clock.forward(1)
    store.interests.write([graph("u", "caps")])
    kept = store.interests.read("u")
    assert kept is not None and [told.text for told in kept.interests()] == ["caps"]
    assert (kept.written_at, kept.revision) == (clock.now, 2)
    assert store.interests.read_graph("ü 2 ") == two, "others are left alone"


def test_an_empty_graph_is_a_value_too(store: Store) -> None:
    store.interests.write([InterestGraph("u", 3)])
    kept = store.interests.read("u")
    assert kept is not None and kept.interests() == [] and not kept.stale
    assert store.interests.read_graph("u") == InterestGraph("u", 3)


def test_a_request_reads_only_the_most_confident(stores: Stores, graph: Graphs) -> None:
    store = stores(max_served=2)
    store.interests.write([graph("u", "a1", "b1", "c1")])
    kept, whole = store.interests.read("u"), store.interests.read_graph("u")
    assert kept is not None and [told.text for told in kept.interests()] == ["a1", "b1"]
    assert whole is not None and len(whole.interests()) == 3


def test_a_value_is_fresh_for_seven_days_and_readable_after(store: Store, clock: Any, graph: Graphs) -> None:
    store.interests.write([graph("u", "caps")])
    for days, stale in ((6.99, False), (0.02, True), (400, True)):
        clock.forward(days * 86_400)
        kept = store.interests.read("u")
        assert kept is not None and kept.stale is stale and kept.interests()[0].text == "caps"
    store.interests.write([graph("u", "hats")])
    kept = store.interests.read("u")
    assert kept is not None and not kept.stale


def test_a_value_from_a_clock_far_ahead_is_not_fresh_for_ever(store: Store, clock: Any, graph: Graphs) -> None:
    store.interests.write([graph("u", "caps")])
    clock.forward(-3600)
    kept = store.interests.read("u")
    assert kept is not None and not kept.stale
    clock.forward(-30 * 86_400)
    kept = store.interests.read("u")
    assert kept is not None and kept.stale
    assert store.jobs.counts().fresh == 0 and store.jobs.enqueue(["u"], "stale") == 1


def test_marked_users_are_stale_until_written(store: Store, graph: Graphs) -> None:
    store.interests.write([graph("u", "caps"), graph("v", "hats")])
    assert store.interests.mark_stale(["u", "nobody"]) == 1
    assert store.interests.mark_stale(["u"]) == 0
    kept, other = store.interests.read("u"), store.interests.read("v")
    assert kept is not None and kept.stale and kept.interests()[0].text == "caps" and kept.revision == 1
    assert other is not None and not other.stale
    assert store.jobs.counts() == Counts(stored=2, fresh=1, queued=0, waiting=0, leased=0, dead=0)
    store.interests.write([graph("u", "tents")])
    kept = store.interests.read("u")
    assert kept is not None and not kept.stale and kept.revision == 2
    assert store.jobs.counts().fresh == 2


def test_pruning_forgets_the_old_only(store: Store, clock: Any, graph: Graphs) -> None:
    store.interests.write(graph(f"old{n}", "caps") for n in range(1203))
    store.interests.mark_stale(["old3"])
    clock.forward(10 * 86_400)
    store.interests.write([graph("young", "hats")])
    assert store.interests.prune(10.5) == 0
    assert store.interests.prune(9.5) == 1203
    assert store.interests.read("old3") is None and store.interests.read_graph("old3") is None
    assert store.interests.read("young") is not None and store.interests.read_graph("young") is not None
    assert store.jobs.counts().stored == 1 and store.jobs.counts().fresh == 1
    store.interests.write([graph("old3", "tents")])
    kept = store.interests.read("old3")
    assert kept is not None and kept.revision == 1, "nothing was left of it"
    assert store.jobs.counts().fresh == 2


def test_forgetting_a_user_takes_the_job_from_its_worker(store: Store, graph: Graphs) -> None:
    store.interests.write([graph("u", "caps"), graph("v", "caps")])
    store.jobs.enqueue(["u", "v", "w"], "requested")
    jobs = take(store, count=2)
    assert store.forget("u") == 0 and store.forget("nobody") == 0
    assert (
        store.interests.read("u") is None
        and store.interests.read_graph("u") is None
        and store.interests.read("v") is not None
    )
    assert not store.jobs.complete(jobs[0], graph("u", "hats")) and store.interests.read("u") is None
    assert store.jobs.complete(jobs[1], graph("v", "hats"))
    assert store.jobs.counts() == Counts(stored=1, fresh=1, queued=1, waiting=0, leased=0, dead=0)


def test_what_is_no_graph_is_named(store: Store, graph: Graphs) -> None:
    store.interests.write([graph("u", "caps")])
    with store.database.writing() as db:
        db.execute(sa.update(interest_graphs).values(graph=b"\0"))
        db.execute(sa.update(interests).values(served=b"[1"))
    with pytest.raises(DataError, match="not an interest graph"):
        store.interests.read_graph("u")
    kept = store.interests.read("u")
    assert kept is not None
    with pytest.raises(DataError, match="cannot be read"):
        kept.interests()


# The queue


def test_a_job_goes_through_the_queue(store: Store, clock: Any, graph: Graphs) -> None:
    assert take(store) == []
    assert store.jobs.enqueue(["u", "v"], "missing") == 2
    assert store.jobs.counts() == Counts(stored=0, fresh=0, queued=2, waiting=0, leased=0, dead=0)
    jobs = take(store)
    assert users(jobs) == ["u", "v"] and [job.attempt for job in jobs] == [1, 1] and jobs[0].reason == "missing"
    assert jobs[0].token != jobs[1].token
    assert take(store, "other") == []
    assert store.jobs.counts() == Counts(stored=0, fresh=0, queued=0, waiting=0, leased=2, dead=0)
    clock.forward(5)
    assert store.jobs.complete(jobs[0], graph("u", "caps"))
    kept = store.interests.read("u")
    assert (
        kept is not None and kept.written_at == clock.now and kept.revision == 1 and kept.interests()[0].text == "caps"
    )
    assert store.interests.read_graph("u") == graph("u", "caps")
    assert store.jobs.counts() == Counts(stored=1, fresh=1, queued=0, waiting=0, leased=1, dead=0)
    assert not store.jobs.complete(jobs[0], graph("u", "hats")), "once"
    kept = store.interests.read("u")
    assert kept is not None and kept.revision == 1


def test_a_user_has_one_job(store: Store) -> None:
    assert store.jobs.enqueue(["u", "u", "v"], "missing") == 2
    assert store.jobs.enqueue(["v", "u"], "missing") == 0
    assert store.jobs.enqueue([], "missing") == 0
    assert users(take(store)) == ["u", "v"]


def test_the_fresh_are_refreshed_only_for_news(store: Store, clock: Any, graph: Graphs) -> None:
    store.interests.write([graph("u", "caps")])
    assert store.jobs.enqueue(["u"], "missing") == 0 and store.jobs.enqueue(["u"], "stale") == 0
    assert store.jobs.enqueue(["u"], "drift") == 1
    store.jobs.release(take(store))
    store.jobs.drop()
    store.interests.write([graph("v", "caps"), graph("w", "caps")])
    store.interests.mark_stale(["v"])
    assert store.jobs.enqueue(["v", "w"], "stale") == 1
    clock.forward(8 * 86_400)
    assert store.jobs.enqueue(["v", "w"], "stale") == 1


def test_missing_goes_before_stale_and_old_before_young(store: Store) -> None:
    store.jobs.enqueue(["s1"], "stale")
    store.jobs.enqueue(["m1"], "missing")
    store.jobs.enqueue(["s2", "d1"], "drift")
    store.jobs.enqueue(["m2"], "missing")
    store.jobs.enqueue(["d1"], "missing")  # its priority rises, its place stays
    assert users(take(store, count=2)) == ["m1", "d1"]
    jobs = take(store)
    assert users(jobs) == ["m2", "s1", "s2"]
    store.jobs.release(jobs)
    assert users(take(store)) == ["m2", "s1", "s2"], "given back to the same place"


def test_a_leased_job_runs_once_more_for_news_alone(store: Store, clock: Any, graph: Graphs) -> None:
    store.jobs.enqueue(["u"], "missing")
    first = take_one(store)
    assert store.jobs.enqueue(["u"], "stale") == 0 and store.jobs.enqueue(["u"], "missing") == 0
    assert store.jobs.enqueue(["u"], "drift") == 1
    assert store.jobs.enqueue(["u"], "requested") == 0
    assert take(store) == []
    assert store.jobs.complete(first, graph("u", "caps"))
    second = take_one(store)
    assert (second.user, second.reason, second.attempt) == ("u", "drift", 1)
    assert store.jobs.complete(second, graph("u", "hats"))
    assert take(store) == []
    kept = store.interests.read("u")
    assert kept is not None and kept.revision == 2


def test_what_runs_again_anyway_does_not_run_twice_more(store: Store, clock: Any, graph: Graphs) -> None:
    for end in ("fail", "release", "lost"):
        store.jobs.enqueue([end], "missing")
        job = take_one(store)
        assert store.jobs.enqueue([end], "drift") == 1
        if end == "fail":
            store.jobs.fail(job, "no")
        elif end == "release":
            store.jobs.release([job])
        clock.forward(70)
        assert store.jobs.complete(take_one(store), graph(end, "caps"))
        assert take(store) == [], end


def test_a_job_waits_for_its_time(store: Store, clock: Any) -> None:
    later = clock.now + 100 * SECOND
    assert store.jobs.enqueue(["u", "v"], "requested", not_before=later) == 2
    assert take(store) == [] and store.jobs.counts().waiting == 2
    store.jobs.enqueue(["u"], "requested", not_before=later + SECOND)
    store.jobs.enqueue(["v"], "requested", not_before=later - 50 * SECOND)
    clock.forward(60)
    assert store.jobs.counts().queued == 1 and store.jobs.counts().waiting == 1
    assert users(take(store)) == ["v"]
    clock.forward(40)
    assert users(take(store)) == ["u"]
    store.jobs.enqueue(["w"], "requested", not_before=clock.now + SECOND)
    store.jobs.enqueue(["w"], "missing")
    assert users(take(store)) == ["w"]


def test_a_lost_workers_jobs_are_taken_over_one_at_a_time(store: Store, clock: Any, graph: Graphs) -> None:
    store.jobs.enqueue(["a", "b", "c"], "missing")
    lost = take(store, "lost")
    clock.forward(59)
    assert take(store, "other") == []
    clock.forward(2)
    assert store.jobs.counts().queued == 3
    store.jobs.enqueue(["d"], "missing")
    again = [take(store, "other") for _ in range(4)]
    assert [users(jobs) for jobs in again] == [["a"], ["b"], ["c"], ["d"]]
    assert again[0][0].attempt == 2
    assert not store.jobs.complete(lost[0], graph("a", "caps")), "too late"
    assert store.interests.read("a") is None and store.interests.read_graph("a") is None
    assert (
        not store.jobs.fail(lost[0], "too late") and store.jobs.release(lost) == 0 and store.jobs.extend(lost, 60) == []
    )
    assert store.jobs.complete(again[0][0], graph("a", "hats"))
    assert not store.jobs.complete(lost[0], graph("a", "caps"))
    assert store.interests.read_graph("a") == graph("a", "hats")


def test_a_suspect_does_not_hold_up_the_others(store: Store, clock: Any) -> None:
    store.jobs.enqueue(["a"], "stale")
    take(store)
    clock.forward(61)
    store.jobs.enqueue(["m1", "m2"], "missing")
    store.jobs.enqueue(["s"], "stale")
    assert [users(take(store)) for _ in range(3)] == [["m1", "m2"], ["a"], ["s"]]


def test_a_lease_that_ran_out_unnoticed_still_counts(store: Store, clock: Any, graph: Graphs) -> None:
    store.jobs.enqueue(["u"], "missing")
    job = take_one(store)
    clock.forward(100)
    assert store.jobs.complete(job, graph("u", "caps"))
    assert take(store) == []


def test_a_lease_can_be_held(store: Store, clock: Any, graph: Graphs) -> None:
    store.jobs.enqueue(["a", "b"], "missing")
    jobs = take(store)
    for _ in range(5):
        clock.forward(50)
        assert store.jobs.extend(jobs, 60) == jobs
        assert take(store, "other") == []
    store.jobs.complete(jobs[0], graph("a", "caps"))
    assert store.jobs.extend(jobs, 60) == jobs[1:]


def test_failed_jobs_wait_longer_each_time_then_die(stores: Stores, clock: Any) -> None:
    store = stores(max_attempts=4, first_wait=10.0, longest_wait=30.0)
    store.jobs.enqueue(["u"], "missing")
    for attempt, whole in ((1, 10), (2, 20), (3, 30)):
        job = take_one(store)
        assert job.attempt == attempt
        assert store.jobs.fail(job, f"problem {attempt}")
        assert not store.jobs.fail(job, "once")
        assert store.jobs.counts().waiting == 1
        clock.forward(whole / 2 - 0.001)
        assert store.jobs.enqueue(["u"], "missing") == 0
        assert take(store) == [], "too early"
        clock.forward(whole / 2 + 0.001)
    assert store.jobs.fail(take_one(store), "problem \ud800 4")
    (dead,) = store.jobs.dead_jobs()
    assert (dead.user, dead.reason, dead.error, dead.attempt) == ("u", "missing", "problem ? 4", 4)
    assert dead.since == clock.now
    clock.forward(1e6)
    assert take(store) == []
    assert store.jobs.enqueue(["u"], "requested") == 0, "it stays there"
    assert store.jobs.counts() == Counts(stored=0, fresh=0, queued=0, waiting=0, leased=0, dead=1)


def test_a_job_that_kills_its_workers_dies(stores: Stores, clock: Any) -> None:
    store = stores(max_attempts=3)
    store.jobs.enqueue(["good", "bad"], "missing")
    take(store, "first")
    for worker in ("second", "third"):
        clock.forward(61)
        for job in (take_one(store, worker), take_one(store, worker)):
            if job.user == "good" and worker == "third":
                store.jobs.release([job])
    clock.forward(61)
    assert users(take(store)) == ["good"]
    (dead,) = store.jobs.dead_jobs()
    assert dead.user == "bad" and "third" in dead.error and dead.attempt == 3


def test_an_outage_blames_nobody(stores: Stores, clock: Any) -> None:
    store = stores(max_attempts=2, first_wait=10.0, longest_wait=40.0)
    store.jobs.enqueue(["a", "b"], "missing")
    jobs = take(store)
    for _ in range(5):
        for job in jobs:
            assert store.jobs.fail(job, "server down", blame=False)
        clock.forward(40)
        first, second = take(store), take(store)
        assert {*users(first), *users(second)} == {"a", "b"} and len(first) == 1, "one at a time"
        jobs = first + second
    assert store.jobs.dead_jobs() == []
    assert jobs[0].attempt == 6
    store.jobs.fail(jobs[0], "its own fault")
    clock.forward(40)
    store.jobs.enqueue(["c"], "stale")
    assert users(take(store)) == [jobs[0].user, "c"], "no suspect any more"


def test_jobs_given_back_are_as_if_never_leased(stores: Stores, clock: Any, graph: Graphs) -> None:
    store = stores(max_attempts=1)
    store.jobs.enqueue(["a", "b"], "missing")
    for _ in range(3):
        jobs = take(store)
        assert users(jobs) == ["a", "b"] and jobs[0].attempt == 1
        assert store.jobs.release(jobs) == 2
        assert store.jobs.release(jobs) == 0
        assert not store.jobs.complete(jobs[0], graph("a", "caps"))
    assert store.jobs.dead_jobs() == []


def test_the_shelf_is_revived_and_dropped_by_name(stores: Stores, clock: Any, graph: Graphs) -> None:
    store = stores(max_attempts=1)
    store.jobs.enqueue(["a", "b", "c", "d"], "missing")
    for number, job in enumerate(take(store)):
        store.jobs.fail(job, f"problem {number}")
        clock.forward(1)
    assert [one.user for one in store.jobs.dead_jobs()] == ["a", "b", "c", "d"]
    assert [one.user for one in store.jobs.dead_jobs(2)] == ["a", "b"]
    assert store.jobs.drop(["a", "nobody"]) == 1 and store.jobs.revive(["b", "a"]) == 1
    assert store.jobs.enqueue(["a"], "missing") == 1, "nothing of it is left"
    job = take_one(store)
    assert (job.user, job.attempt) == ("b", 1)
    assert store.jobs.complete(job, graph("b", "caps"))
    assert store.jobs.revive() == 2 and store.jobs.dead_jobs() == []
    store.jobs.enqueue(["c"], "missing")
    assert store.jobs.counts().queued == 3
    for job in (take_one(store), take_one(store)):
        store.jobs.fail(job, "again")
    assert store.jobs.drop() == 2 and store.jobs.counts() == Counts(
        stored=1, fresh=1, queued=1, waiting=0, leased=0, dead=0
    )


def test_a_revived_job_has_all_its_attempts_again(stores: Stores, clock: Any) -> None:
    store = stores(max_attempts=2)
    store.jobs.enqueue(["u"], "missing")
    for _ in range(2):
        store.jobs.fail(take_one(store), "no")
        clock.forward(1e6)
    assert store.jobs.revive(["u"]) == 1
    store.jobs.fail(take_one(store), "no")
    assert store.jobs.dead_jobs() == [] and store.jobs.counts().waiting == 1
    clock.forward(1e6)
    store.jobs.fail(take_one(store), "no")
    assert len(store.jobs.dead_jobs()) == 1


@pytest.mark.parametrize("back", [3600, 400 * 86_400])
def test_a_clock_that_is_set_back_makes_nobody_wait_for_it(store: Store, clock: Any, back: float) -> None:
    store.jobs.enqueue(["later"], "requested", not_before=clock.now + 20 * SECOND)
    store.jobs.enqueue(["failed", "held"], "missing")
    failed, _ = take(store)
    store.jobs.fail(failed, "no")  # at most 10 s
    clock.forward(-back)
    assert take(store, "other") == [], "and no lease is lost by it"
    clock.forward(11)
    assert users(take(store, "other")) == ["failed"]
    clock.forward(10)
    assert users(take(store, "other")) == ["later"]
    clock.forward(40)
    assert users(take(store, "other")) == ["held"]


def test_a_clock_set_back_while_nobody_asks_for_jobs(store: Store, clock: Any) -> None:
    store.jobs.enqueue(["u"], "missing")
    jobs = take(store)
    clock.forward(-3600)
    assert store.jobs.extend(jobs, 60) == jobs  # the first to notice
    clock.forward(59)
    assert take(store, "other") == []
    clock.forward(2)
    assert users(take(store, "other")) == ["u"]


def test_by_the_real_clock(stores: Stores, graph: Graphs) -> None:
    store = stores(clock=None)
    store.jobs.enqueue(["u", "v"], "missing")
    mine, theirs = take_one(store, seconds=60), take_one(store, seconds=-1)
    assert users(take(store, "other")) == ["v"]
    assert store.jobs.complete(mine, graph("u", "caps")) and not store.jobs.complete(theirs, graph("v", "caps"))
    kept = store.interests.read("u")
    assert kept is not None and not kept.stale
    assert store.jobs.counts() == Counts(stored=1, fresh=1, queued=0, waiting=0, leased=1, dead=0)


def test_two_openers_share_everything(stores: Stores, clock: Any, graph: Graphs) -> None:
    one, two = stores(), stores()
    one.jobs.enqueue(["u"], "missing")
    job = take_one(two)
    assert take(one) == []
    assert one.jobs.complete(job, graph("u", "caps"))
    assert two.interests.read_graph("u") == graph("u", "caps")


def test_many_threads_do_each_job_once(stores: Stores, graph: Graphs) -> None:
    names = [f"u{n}" for n in range(150)]
    done: list[str] = []
    ours = [stores(clock=None), stores(clock=None)]
    ours[0].jobs.enqueue(names, "missing")
    problems: list[BaseException] = []

    def work(number: int) -> None:
        store = ours[number % 2]
        try:
            while jobs := store.jobs.lease(f"w{number}", 3, 60):
                assert store.jobs.extend(jobs, 60) == jobs
                store.jobs.enqueue([job.user for job in jobs], "missing")
                done.extend(job.user for job in jobs if store.jobs.complete(job, graph(job.user, "caps")))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert Counter(done) == Counter(names)
    revisions = [kept.revision for name in names if (kept := ours[0].interests.read(name)) is not None]
    assert revisions == [1] * len(names)
    assert ours[1].jobs.counts() == Counts(stored=150, fresh=150, queued=0, waiting=0, leased=0, dead=0)


def test_thousands_in_one_call(store: Store) -> None:
    names = [f"u{n}" for n in range(3000)]
    assert store.jobs.enqueue(names, "requested") == 3000
    assert store.jobs.enqueue(names, "requested") == 0
    assert users(take(store, count=2500)) == names[:2500]
    assert store.jobs.counts().leased == 2500


def test_no_settings_outside_their_range(stores: Stores) -> None:
    with pytest.raises(SettingsError, match="fresh_days"):
        stores(fresh_days=0)
    store = stores(fresh_days=0.5)
    assert store.settings.lifetime == DAY // 2
