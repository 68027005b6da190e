"""The pools, the locks, and giving way."""

import threading
import time

import gevent
import gevent.socket
import pytest

from greenmail.net.work import TURN, Clock, GreenLock, Pool, Work


def spin(seconds: float) -> None:
    """Keep the event loop, as a long computation does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def pool():
    made = Pool("work", 2, Clock())
    yield made
    made.close()


def test_a_task_runs_on_another_thread_and_its_result_comes_back(pool):
    assert pool.run(lambda a, b: (a + b, threading.get_ident() != main), 2, 3) == (5, True)


main = threading.get_ident()


def test_what_a_task_raises_is_raised_in_the_caller_and_printed_nowhere(pool, capfd):
    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        pool.run(fail)
    gevent.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_a_task_that_asks_for_the_pool_again_does_not_wait_for_itself(pool):
    assert pool.run(lambda: pool.run(threading.get_ident) == threading.get_ident())


def test_no_more_tasks_run_at_once_than_the_pool_has_threads():
    # gevent lets one more be handed in; it waits in the queue.
    pool, running, most = Pool("work", 2, Clock()), [], []
    gate = threading.Event()

    def task() -> None:
        running.append(1)
        most.append(len(running))
        gate.wait(20)
        running.pop()

    tasks = [gevent.spawn(pool.run, task) for _ in range(6)]
    while len(running) < 2:
        gevent.sleep(0.001)
    gevent.sleep(0.02)
    assert len(running) == 2
    gate.set()
    gevent.joinall(tasks, timeout=20, raise_error=True)
    assert max(most) == 2
    pool.close()


def test_the_loop_goes_on_while_a_task_works(pool):
    gate = threading.Event()
    task = gevent.spawn(pool.run, gate.wait, 20)
    gevent.sleep(0.001)
    gate.set()  # reached only because the loop was not held up
    assert task.get(timeout=20) is True


def test_tasks_one_after_the_other_need_one_thread(pool):
    assert len({pool.run(threading.get_ident) for _ in range(5)}) == 1


def test_a_task_wakes_one_thread_the_one_that_worked_last():
    pool = Pool("work", 4, Clock())
    gate = threading.Barrier(5)
    tasks = [gevent.spawn(pool.run, gate.wait, 20) for _ in range(4)]
    gevent.sleep(0.001)  # each of the four has a task now
    gate.wait(20)
    gevent.joinall(tasks, timeout=20, raise_error=True)
    last = pool.run(threading.get_ident)
    assert {pool.run(threading.get_ident) for _ in range(20)} == {last}
    pool.close()


def test_the_threads_of_a_closed_pool_end_also_those_that_were_at_work():
    pool, gate = Pool("test-ends", 2, Clock()), threading.Event()
    pool.run(int, "7")
    tasks = [gevent.spawn(pool.run, gate.wait, 20) for _ in range(3)]  # one of them waits for a thread
    gevent.sleep(0.001)
    pool.close()
    gate.set()
    gevent.joinall(tasks, timeout=20, raise_error=True)
    for thread in threading.enumerate():
        if thread.name == "test-ends":
            thread.join(20)
            assert not thread.is_alive()


def test_where_no_thread_can_be_made_the_task_fails_and_is_not_counted(monkeypatch):
    found = []

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def alone() -> None:
        """In a thread, which has a loop of its own: nothing that was counted keeps it."""
        pool = Pool("work", 2, Clock())
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError):
                pool.run(int, "7")
        found.append(gevent.get_hub().join(timeout=5))
        found.append(pool.run(int, "7"))
        pool.close()

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    assert found == [True, 7]


def test_what_nobody_waits_for_any_more_is_given_to_nobody(pool):
    gate = threading.Event()
    doomed = gevent.spawn(pool.run, lambda: gate.wait(20) and "of the doomed")
    gevent.sleep(0.001)
    doomed.kill()
    with pytest.raises(TimeoutError, match=r"within 0\.001 seconds"):
        pool.run_within(0.001, lambda: gate.wait(20) and "too late")
    gate.set()
    assert [pool.run(lambda number: number, number) for number in range(5)] == list(range(5))
    assert isinstance(doomed.value, gevent.GreenletExit)


def test_a_limit_that_was_set_elsewhere_is_not_taken_for_that_of_the_task(pool):
    gate = threading.Event()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
        pool.run_within(20, gate.wait, 20)
    gate.set()


def test_the_loop_ends_when_nothing_is_under_way():
    found = []

    def alone() -> None:
        """In a thread, which has a loop of its own: nothing else keeps it."""
        pool = Pool("work", 1, Clock())
        found.append(pool.run(int, "7"))
        pool.close()
        found.append(gevent.get_hub().join(timeout=20))

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    assert found == [7, True]


def test_a_task_that_runs_is_finished_although_the_pool_is_closed():
    pool, gate = Pool("work", 1, Clock()), threading.Event()
    task = gevent.spawn(pool.run, gate.wait, 20)
    gevent.sleep(0.001)
    pool.close()
    gate.set()
    assert task.get(timeout=20) is True


def test_breathe_does_nothing_within_a_turn():
    clock, others = Clock(), []
    gevent.spawn(others.append, 1)
    clock.resumed()
    clock.breathe()
    assert others == []


def test_breathe_after_a_turn_lets_input_in():
    clock, got = Clock(), []
    left, right = gevent.socket.socketpair()
    reader = gevent.spawn(lambda: got.append(right.recv(10)))
    gevent.sleep(0.001)  # the reader waits now
    left.send(b"x")
    clock.resumed()
    for _ in range(200):
        spin(TURN)
        clock.breathe()
        if got:
            break
    assert got == [b"x"]
    reader.join()
    left.close()
    right.close()


def test_breathe_counts_from_the_last_wait_and_not_from_the_last_breath():
    clock, others = Clock(), []
    clock.resumed()
    spin(TURN)
    clock.sleep(0.001)
    gevent.spawn(others.append, 1)
    clock.breathe()
    assert others == []


def test_a_sleep_of_zero_still_lets_input_in():
    clock, got = Clock(), []
    left, right = gevent.socket.socketpair()
    gevent.spawn(lambda: got.append(right.recv(10)))
    gevent.sleep(0.001)
    left.send(b"x")
    for _ in range(100):
        clock.sleep(0)
    assert got == [b"x"]


def test_a_lock_lets_one_in_and_the_others_in_order():
    lock, order = GreenLock(Clock()), []

    def enter(name: int) -> None:
        with lock:
            order.append(name)
            gevent.sleep(0.001)
            order.append(name)

    gevent.joinall([gevent.spawn(enter, name) for name in range(5)], timeout=20)
    assert order == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_who_takes_a_lock_again_and_again_lets_the_others_in():
    """As a long STORE does, batch after batch, with a NOOP of another session between two of them."""
    lock, order = GreenLock(Clock()), []

    def greedy() -> None:
        for _ in range(4):
            with lock:
                order.append("greedy")
                gevent.sleep(0.001)

    def modest() -> None:
        with lock:
            order.append("modest")

    gevent.joinall([gevent.spawn(greedy), gevent.spawn(modest)], timeout=20)
    assert order == ["greedy", "modest", "greedy", "greedy", "greedy"]


@pytest.mark.parametrize("when", ["while it waits", "when it is its turn"])
def test_who_is_killed_while_it_waits_for_a_lock_does_not_keep_it(when):
    lock, entered = GreenLock(Clock()), []

    def enter(name: str) -> None:
        with lock:
            entered.append(name)

    with lock:
        doomed, other = gevent.spawn(enter, "doomed"), gevent.spawn(enter, "other")
        gevent.sleep(0.001)
        if when == "while it waits":
            doomed.kill()
    if when == "when it is its turn":
        doomed.kill(block=False)
    gevent.joinall([doomed, other], timeout=20)
    assert entered in (["other"], ["doomed", "other"])
    with lock:
        pass


def test_a_lock_is_free_again_after_an_exception():
    lock = GreenLock(Clock())
    with pytest.raises(KeyError), lock:
        raise KeyError
    with lock:
        pass


def test_the_runtime_has_everything_that_the_engines_ask_for():
    work = Work(pool_size=2)
    runtime = work.runtime
    assert runtime.blocking(int, "7") == 7
    with runtime.lock():
        runtime.breathe()
    runtime.sleep(0)
    assert abs(runtime.now() - time.time()) < 5
    work.close()
