"""The contract of a store, held by both backends."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from searec.data.schema import DAY
from searec.errors import DataError, SettingsError
from searec.interests.interest_graph import InterestGraph
from searec.store.interest_store import SECOND, Counts, Job, Store

Graphs = Callable[..., InterestGraph]
Stores = Callable[..., Store]


def take(store: Store, worker: str = "w", count: int = 10, seconds: float = 60.0) -> list[Job]:
    return store.lease(worker, count, seconds)


def take_one(store: Store, worker: str = "w", seconds: float = 60.0) -> Job:
    (job,) = store.lease(worker, 1, seconds)
    return job


def users(jobs: list[Job]) -> list[str]:
    return [job.user for job in jobs]


# Interests


def test_what_is_written_is_read(store: Store, stores: Stores, clock: Any, graph: Graphs) -> None:
    assert store.read("u") is None and store.read_graph("u") is None
    one, two = graph("u", "running socks", "gym bags"), graph("ü 2 ", "tents", at=5)
    store.write([one, two])
    for reader in (store, stores()):
        kept = reader.read("u")
        assert kept is not None
        assert (kept.made, kept.stale, kept.revision) == (clock.now, False, 1)
        assert [tuple(told) for told in kept.interests()] == [
            (i.text, pytest.approx(i.confidence), i.reason) for i in one.interests()
        ]
        assert reader.read_graph("u") == one and reader.read_graph("ü 2 ") == two
    clock.forward(1)
    store.write([graph("u", "caps")])
    kept = store.read("u")
    assert kept is not None and [told.text for told in kept.interests()] == ["caps"]
    assert (kept.made, kept.revision) == (clock.now, 2)
    assert store.read_graph("ü 2 ") == two, "others are left alone"


def test_an_empty_graph_is_a_value_too(store: Store) -> None:
    store.write([InterestGraph("u", 3)])
    kept = store.read("u")
    assert kept is not None and kept.interests() == [] and not kept.stale
    assert store.read_graph("u") == InterestGraph("u", 3)


def test_a_request_reads_only_the_most_confident(stores: Stores, graph: Graphs) -> None:
    store = stores(serve=2)
    store.write([graph("u", "a1", "b1", "c1")])
    kept, whole = store.read("u"), store.read_graph("u")
    assert kept is not None and [told.text for told in kept.interests()] == ["a1", "b1"]
    assert whole is not None and len(whole.interests()) == 3


def test_a_value_is_fresh_for_seven_days_and_readable_after(store: Store, clock: Any, graph: Graphs) -> None:
    store.write([graph("u", "caps")])
    for days, stale in ((6.99, False), (0.02, True), (400, True)):
        clock.forward(days * 86_400)
        kept = store.read("u")
        assert kept is not None and kept.stale is stale and kept.interests()[0].text == "caps"
    store.write([graph("u", "hats")])
    kept = store.read("u")
    assert kept is not None and not kept.stale


def test_a_value_from_a_clock_far_ahead_is_not_fresh_for_ever(store: Store, clock: Any, graph: Graphs) -> None:
    store.write([graph("u", "caps")])
    clock.forward(-3600)
    kept = store.read("u")
    assert kept is not None and not kept.stale
    clock.forward(-30 * 86_400)
    kept = store.read("u")
    assert kept is not None and kept.stale
    assert store.counts().fresh == 0 and store.enqueue(["u"], "stale") == 1


def test_marked_users_are_stale_until_written(store: Store, graph: Graphs) -> None:
    store.write([graph("u", "caps"), graph("v", "hats")])
    assert store.mark_stale(["u", "nobody"]) == 1
    assert store.mark_stale(["u"]) == 0
    kept, other = store.read("u"), store.read("v")
    assert kept is not None and kept.stale and kept.interests()[0].text == "caps" and kept.revision == 1
    assert other is not None and not other.stale
    assert store.counts() == Counts(kept=2, fresh=1, queued=0, waiting=0, leased=0, poisoned=0)
    store.write([graph("u", "tents")])
    kept = store.read("u")
    assert kept is not None and not kept.stale and kept.revision == 2
    assert store.counts().fresh == 2


def test_pruning_forgets_the_old_only(store: Store, clock: Any, graph: Graphs) -> None:
    store.write(graph(f"old{n}", "caps") for n in range(1203))
    store.mark_stale(["old3"])
    clock.forward(10 * 86_400)
    store.write([graph("young", "hats")])
    assert store.prune(10.5) == 0
    assert store.prune(9.5) == 1203
    assert store.read("old3") is None and store.read_graph("old3") is None
    assert store.read("young") is not None and store.read_graph("young") is not None
    assert store.counts().kept == 1 and store.counts().fresh == 1
    store.write([graph("old3", "tents")])
    kept = store.read("old3")
    assert kept is not None and kept.revision == 1, "nothing was left of it"
    assert store.counts().fresh == 2


def test_forgetting_a_user_takes_the_job_from_its_worker(store: Store, graph: Graphs) -> None:
    store.write([graph("u", "caps"), graph("v", "caps")])
    store.enqueue(["u", "v", "w"], "asked")
    jobs = take(store, count=2)
    store.forget(["u", "nobody"])
    assert store.read("u") is None and store.read_graph("u") is None and store.read("v") is not None
    assert not store.complete(jobs[0], graph("u", "hats")) and store.read("u") is None
    assert store.complete(jobs[1], graph("v", "hats"))
    assert store.counts() == Counts(kept=1, fresh=1, queued=1, waiting=0, leased=0, poisoned=0)


def test_what_is_no_graph_is_named(store: Store, backend: str, place: Any, graph: Graphs) -> None:
    store.write([graph("u", "caps")])
    if backend == "sqlite":
        import sqlite3

        with sqlite3.connect(place[0].removeprefix("sqlite:///")) as db:
            db.execute("UPDATE graphs SET graph = x'00'")
            db.execute("UPDATE kept SET served = x'5b31'")
        db.close()
    else:
        import redis

        with redis.Redis.from_url(place[0]) as client:
            client.set(f"{place[1]['prefix']}:1:graph:u", b"\0")
            client.setrange(f"{place[1]['prefix']}:1:served:u", 27, b"{1")
    with pytest.raises(DataError, match="not an interest graph"):
        store.read_graph("u")
    kept = store.read("u")
    assert kept is not None
    with pytest.raises(DataError, match="cannot be read"):
        kept.interests()


# The queue


def test_a_job_goes_through_the_queue(store: Store, clock: Any, graph: Graphs) -> None:
    assert take(store) == []
    assert store.enqueue(["u", "v"], "missing") == 2
    assert store.counts() == Counts(kept=0, fresh=0, queued=2, waiting=0, leased=0, poisoned=0)
    jobs = take(store)
    assert users(jobs) == ["u", "v"] and [job.attempt for job in jobs] == [1, 1] and jobs[0].reason == "missing"
    assert jobs[0].token != jobs[1].token
    assert take(store, "other") == []
    assert store.counts() == Counts(kept=0, fresh=0, queued=0, waiting=0, leased=2, poisoned=0)
    clock.forward(5)
    assert store.complete(jobs[0], graph("u", "caps"))
    kept = store.read("u")
    assert kept is not None and kept.made == clock.now and kept.revision == 1 and kept.interests()[0].text == "caps"
    assert store.read_graph("u") == graph("u", "caps")
    assert store.counts() == Counts(kept=1, fresh=1, queued=0, waiting=0, leased=1, poisoned=0)
    assert not store.complete(jobs[0], graph("u", "hats")), "once"
    kept = store.read("u")
    assert kept is not None and kept.revision == 1


def test_a_user_has_one_job(store: Store) -> None:
    assert store.enqueue(["u", "u", "v"], "missing") == 2
    assert store.enqueue(["v", "u"], "missing") == 0
    assert store.enqueue([], "missing") == 0
    assert users(take(store)) == ["u", "v"]


def test_the_fresh_are_refreshed_only_for_news(store: Store, clock: Any, graph: Graphs) -> None:
    store.write([graph("u", "caps")])
    assert store.enqueue(["u"], "missing") == 0 and store.enqueue(["u"], "stale") == 0
    assert store.enqueue(["u"], "drift") == 1
    store.release(take(store))
    store.drop()
    store.write([graph("v", "caps"), graph("w", "caps")])
    store.mark_stale(["v"])
    assert store.enqueue(["v", "w"], "stale") == 1
    clock.forward(8 * 86_400)
    assert store.enqueue(["v", "w"], "stale") == 1


def test_missing_goes_before_stale_and_old_before_young(store: Store) -> None:
    store.enqueue(["s1"], "stale")
    store.enqueue(["m1"], "missing")
    store.enqueue(["s2", "d1"], "drift")
    store.enqueue(["m2"], "missing")
    store.enqueue(["d1"], "missing")  # its priority rises, its place stays
    assert users(take(store, count=2)) == ["m1", "d1"]
    jobs = take(store)
    assert users(jobs) == ["m2", "s1", "s2"]
    store.release(jobs)
    assert users(take(store)) == ["m2", "s1", "s2"], "given back to the same place"


def test_a_leased_job_runs_once_more_for_news_alone(store: Store, clock: Any, graph: Graphs) -> None:
    store.enqueue(["u"], "missing")
    first = take_one(store)
    assert store.enqueue(["u"], "stale") == 0 and store.enqueue(["u"], "missing") == 0
    assert store.enqueue(["u"], "drift") == 1
    assert store.enqueue(["u"], "asked") == 0
    assert take(store) == []
    assert store.complete(first, graph("u", "caps"))
    second = take_one(store)
    assert (second.user, second.reason, second.attempt) == ("u", "drift", 1)
    assert store.complete(second, graph("u", "hats"))
    assert take(store) == []
    kept = store.read("u")
    assert kept is not None and kept.revision == 2


def test_what_runs_again_anyway_does_not_run_twice_more(store: Store, clock: Any, graph: Graphs) -> None:
    for end in ("fail", "release", "lost"):
        store.enqueue([end], "missing")
        job = take_one(store)
        assert store.enqueue([end], "drift") == 1
        if end == "fail":
            store.fail(job, "no")
        elif end == "release":
            store.release([job])
        clock.forward(70)
        assert store.complete(take_one(store), graph(end, "caps"))
        assert take(store) == [], end


def test_a_job_waits_for_its_time(store: Store, clock: Any) -> None:
    later = clock.now + 100 * SECOND
    assert store.enqueue(["u", "v"], "asked", not_before=later) == 2
    assert take(store) == [] and store.counts().waiting == 2
    store.enqueue(["u"], "asked", not_before=later + SECOND)
    store.enqueue(["v"], "asked", not_before=later - 50 * SECOND)
    clock.forward(60)
    assert store.counts().queued == 1 and store.counts().waiting == 1
    assert users(take(store)) == ["v"]
    clock.forward(40)
    assert users(take(store)) == ["u"]
    store.enqueue(["w"], "asked", not_before=clock.now + SECOND)
    store.enqueue(["w"], "missing")
    assert users(take(store)) == ["w"]


def test_a_lost_workers_jobs_are_taken_over_one_at_a_time(store: Store, clock: Any, graph: Graphs) -> None:
    store.enqueue(["a", "b", "c"], "missing")
    lost = take(store, "lost")
    clock.forward(59)
    assert take(store, "other") == []
    clock.forward(2)
    assert store.counts().queued == 3
    store.enqueue(["d"], "missing")
    again = [take(store, "other") for _ in range(4)]
    assert [users(jobs) for jobs in again] == [["a"], ["b"], ["c"], ["d"]]
    assert again[0][0].attempt == 2
    assert not store.complete(lost[0], graph("a", "caps")), "too late"
    assert store.read("a") is None and store.read_graph("a") is None
    assert not store.fail(lost[0], "too late") and store.release(lost) == 0 and store.extend(lost, 60) == []
    assert store.complete(again[0][0], graph("a", "hats"))
    assert not store.complete(lost[0], graph("a", "caps"))
    assert store.read_graph("a") == graph("a", "hats")


def test_a_suspect_does_not_hold_up_the_others(store: Store, clock: Any) -> None:
    store.enqueue(["a"], "stale")
    take(store)
    clock.forward(61)
    store.enqueue(["m1", "m2"], "missing")
    store.enqueue(["s"], "stale")
    assert [users(take(store)) for _ in range(3)] == [["m1", "m2"], ["a"], ["s"]]


def test_a_lease_that_ran_out_unnoticed_still_counts(store: Store, clock: Any, graph: Graphs) -> None:
    store.enqueue(["u"], "missing")
    job = take_one(store)
    clock.forward(100)
    assert store.complete(job, graph("u", "caps"))
    assert take(store) == []


def test_a_lease_can_be_held(store: Store, clock: Any, graph: Graphs) -> None:
    store.enqueue(["a", "b"], "missing")
    jobs = take(store)
    for _ in range(5):
        clock.forward(50)
        assert store.extend(jobs, 60) == jobs
        assert take(store, "other") == []
    store.complete(jobs[0], graph("a", "caps"))
    assert store.extend(jobs, 60) == jobs[1:]


def test_failed_jobs_wait_longer_each_time_then_go_to_the_shelf(stores: Stores, clock: Any) -> None:
    store = stores(attempts=4, first_wait=10.0, longest_wait=30.0)
    store.enqueue(["u"], "missing")
    for attempt, whole in ((1, 10), (2, 20), (3, 30)):
        job = take_one(store)
        assert job.attempt == attempt
        assert store.fail(job, f"problem {attempt}")
        assert not store.fail(job, "once")
        assert store.counts().waiting == 1
        clock.forward(whole / 2 - 0.001)
        assert store.enqueue(["u"], "missing") == 0
        assert take(store) == [], "too early"
        clock.forward(whole / 2 + 0.001)
    assert store.fail(take_one(store), "problem \ud800 4")
    (shelved,) = store.poisoned()
    assert (shelved.user, shelved.reason, shelved.error, shelved.attempt) == ("u", "missing", "problem ? 4", 4)
    assert shelved.at == clock.now
    clock.forward(1e6)
    assert take(store) == []
    assert store.enqueue(["u"], "asked") == 0, "it stays there"
    assert store.counts() == Counts(kept=0, fresh=0, queued=0, waiting=0, leased=0, poisoned=1)


def test_a_job_that_kills_its_workers_goes_to_the_shelf(stores: Stores, clock: Any) -> None:
    store = stores(attempts=3)
    store.enqueue(["good", "bad"], "missing")
    take(store, "first")
    for worker in ("second", "third"):
        clock.forward(61)
        for job in (take_one(store, worker), take_one(store, worker)):
            if job.user == "good" and worker == "third":
                store.release([job])
    clock.forward(61)
    assert users(take(store)) == ["good"]
    (shelved,) = store.poisoned()
    assert shelved.user == "bad" and "third" in shelved.error and shelved.attempt == 3


def test_an_outage_blames_nobody(stores: Stores, clock: Any) -> None:
    store = stores(attempts=2, first_wait=10.0, longest_wait=40.0)
    store.enqueue(["a", "b"], "missing")
    jobs = take(store)
    for _ in range(5):
        for job in jobs:
            assert store.fail(job, "server down", blame=False)
        clock.forward(40)
        first, second = take(store), take(store)
        assert {*users(first), *users(second)} == {"a", "b"} and len(first) == 1, "one at a time"
        jobs = first + second
    assert store.poisoned() == []
    assert jobs[0].attempt == 6
    store.fail(jobs[0], "its own fault")
    clock.forward(40)
    store.enqueue(["c"], "stale")
    assert users(take(store)) == [jobs[0].user, "c"], "no suspect any more"


def test_jobs_given_back_are_as_if_never_leased(stores: Stores, clock: Any, graph: Graphs) -> None:
    store = stores(attempts=1)
    store.enqueue(["a", "b"], "missing")
    for _ in range(3):
        jobs = take(store)
        assert users(jobs) == ["a", "b"] and jobs[0].attempt == 1
        assert store.release(jobs) == 2
        assert store.release(jobs) == 0
        assert not store.complete(jobs[0], graph("a", "caps"))
    assert store.poisoned() == []


def test_the_shelf_is_revived_and_dropped_by_name(stores: Stores, clock: Any, graph: Graphs) -> None:
    store = stores(attempts=1)
    store.enqueue(["a", "b", "c", "d"], "missing")
    for number, job in enumerate(take(store)):
        store.fail(job, f"problem {number}")
        clock.forward(1)
    assert [one.user for one in store.poisoned()] == ["a", "b", "c", "d"]
    assert [one.user for one in store.poisoned(2)] == ["a", "b"]
    assert store.drop(["a", "nobody"]) == 1 and store.revive(["b", "a"]) == 1
    assert store.enqueue(["a"], "missing") == 1, "nothing of it is left"
    job = take_one(store)
    assert (job.user, job.attempt) == ("b", 1)
    assert store.complete(job, graph("b", "caps"))
    assert store.revive() == 2 and store.poisoned() == []
    store.enqueue(["c"], "missing")
    assert store.counts().queued == 3
    for job in (take_one(store), take_one(store)):
        store.fail(job, "again")
    assert store.drop() == 2 and store.counts() == Counts(kept=1, fresh=1, queued=1, waiting=0, leased=0, poisoned=0)


def test_a_revived_job_has_all_its_attempts_again(stores: Stores, clock: Any) -> None:
    store = stores(attempts=2)
    store.enqueue(["u"], "missing")
    for _ in range(2):
        store.fail(take_one(store), "no")
        clock.forward(1e6)
    assert store.revive(["u"]) == 1
    store.fail(take_one(store), "no")
    assert store.poisoned() == [] and store.counts().waiting == 1
    clock.forward(1e6)
    store.fail(take_one(store), "no")
    assert len(store.poisoned()) == 1


@pytest.mark.parametrize("back", [3600, 400 * 86_400])
def test_a_clock_that_is_set_back_makes_nobody_wait_for_it(store: Store, clock: Any, back: float) -> None:
    store.enqueue(["later"], "asked", not_before=clock.now + 20 * SECOND)
    store.enqueue(["failed", "held"], "missing")
    failed, _ = take(store)
    store.fail(failed, "no")  # at most 10 s
    clock.forward(-back)
    assert take(store, "other") == [], "and no lease is lost by it"
    clock.forward(11)
    assert users(take(store, "other")) == ["failed"]
    clock.forward(10)
    assert users(take(store, "other")) == ["later"]
    clock.forward(40)
    assert users(take(store, "other")) == ["held"]


def test_a_clock_set_back_while_nobody_asks_for_jobs(store: Store, clock: Any) -> None:
    store.enqueue(["u"], "missing")
    jobs = take(store)
    clock.forward(-3600)
    assert store.extend(jobs, 60) == jobs  # the first to notice
    clock.forward(59)
    assert take(store, "other") == []
    clock.forward(2)
    assert users(take(store, "other")) == ["u"]


def test_by_the_real_clock(stores: Stores, graph: Graphs) -> None:
    store = stores(clock=None)
    store.enqueue(["u", "v"], "missing")
    mine, theirs = take_one(store, seconds=60), take_one(store, seconds=-1)
    assert users(take(store, "other")) == ["v"]
    assert store.complete(mine, graph("u", "caps")) and not store.complete(theirs, graph("v", "caps"))
    kept = store.read("u")
    assert kept is not None and not kept.stale
    assert store.counts() == Counts(kept=1, fresh=1, queued=0, waiting=0, leased=1, poisoned=0)


def test_two_openers_share_everything(stores: Stores, clock: Any, graph: Graphs) -> None:
    one, two = stores(), stores()
    one.enqueue(["u"], "missing")
    job = take_one(two)
    assert take(one) == []
    assert one.complete(job, graph("u", "caps"))
    assert two.read_graph("u") == graph("u", "caps")


def test_many_threads_do_each_job_once(stores: Stores, graph: Graphs) -> None:
    names = [f"u{n}" for n in range(150)]
    done: list[str] = []
    ours = [stores(clock=None), stores(clock=None)]
    ours[0].enqueue(names, "missing")
    problems: list[BaseException] = []

    def work(number: int) -> None:
        store = ours[number % 2]
        try:
            while jobs := store.lease(f"w{number}", 3, 60):
                assert store.extend(jobs, 60) == jobs
                store.enqueue([job.user for job in jobs], "missing")
                done.extend(job.user for job in jobs if store.complete(job, graph(job.user, "caps")))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert Counter(done) == Counter(names)
    revisions = [kept.revision for name in names if (kept := ours[0].read(name)) is not None]
    assert revisions == [1] * len(names)
    assert ours[1].counts() == Counts(kept=150, fresh=150, queued=0, waiting=0, leased=0, poisoned=0)


def test_thousands_in_one_call(store: Store) -> None:
    names = [f"u{n}" for n in range(3000)]
    assert store.enqueue(names, "asked") == 3000
    assert store.enqueue(names, "asked") == 0
    assert users(take(store, count=2500)) == names[:2500]
    assert store.counts().leased == 2500


def test_no_settings_outside_their_range(stores: Stores) -> None:
    with pytest.raises(SettingsError, match="fresh_days"):
        stores(fresh_days=0)
    store = stores(fresh_days=0.5)
    assert store.settings.life == DAY // 2
