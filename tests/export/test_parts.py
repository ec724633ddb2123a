"""Parts in memory are bounded, whoever asks; nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sftools.export.parts import Parts


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts(2, 100)
    yield made
    made.close()


def in_background(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_as_many_small_ones_as_fit(parts: Parts) -> None:
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(parts.place(10))
        waits = in_background(lambda: parts.take(1))
        waits.join(0.05)
        assert waits.is_alive()
    waits.join(60)
    assert not waits.is_alive()


def test_a_large_one_is_not_overtaken(parts: Parts) -> None:
    parts.take(150)
    order: list[str] = []
    large = in_background(lambda: (parts.take(100), order.append("large"), parts.give(100)))
    until(lambda: len(parts._waiting) == 1)
    small = in_background(lambda: (parts.take(10), order.append("small")))
    until(lambda: len(parts._waiting) == 2)
    parts.give(150)
    for each in (large, small):
        each.join(60)
    assert order == ["large", "small"]


def test_more_than_all_the_room_is_had_alone(parts: Parts) -> None:
    parts.take(1)
    waits = in_background(lambda: parts.take(1000))
    waits.join(0.05)
    assert waits.is_alive()
    parts.give(1)
    waits.join(60)
    assert not waits.is_alive()
    parts.give(1000)
    parts.take(200)  # all of it is back


def test_room_that_is_given_away_comes_back_from_the_thread(parts: Parts) -> None:
    go_on = threading.Event()
    with parts.place(200) as place:
        future = place.give_away(go_on.wait, 60)
        waits = in_background(lambda: parts.take(200))
        waits.join(0.05)
        assert waits.is_alive()
        go_on.set()
        assert future.result(60)
        waits.join(60)
        assert not waits.is_alive()


def test_work_that_fails_gives_its_room_back(parts: Parts) -> None:
    def fails() -> None:
        raise OSError

    with parts.place(200) as place:
        assert isinstance(place.give_away(fails).exception(60), OSError)
    parts.take(200)


def test_there_are_threads_again_after_the_end(parts: Parts) -> None:
    """A lane that ends by a mistake of ours is run again."""
    assert parts.do(int).result(60) == 0
    parts.close()
    assert parts.do(int).result(60) == 0
