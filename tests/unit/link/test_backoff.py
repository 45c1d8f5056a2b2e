import random

from hypothesis import given
from hypothesis import strategies as st

from bridge.link.backoff import Backoff


class Fixed(random.Random):
    """Always the same share."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def random(self) -> float:
        return self.share


def test_delays_double_up_to_the_last() -> None:
    backoff = Backoff(1, 60, Fixed(1.0))
    assert [backoff.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_first_delay_spreads_from_zero_and_later_ones_from_half() -> None:
    backoff = Backoff(1, 60, Fixed(0.0))
    assert [backoff.next() for _ in range(3)] == [0, 1, 2]


def test_reset_starts_anew() -> None:
    backoff = Backoff(1, 60, Fixed(1.0))
    for _ in range(5):
        backoff.next()
    assert backoff.failures == 5
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next() == 1


@given(st.integers(), st.integers(min_value=1, max_value=2000))
def test_a_delay_never_leaves_its_bounds(seed: int, tries: int) -> None:
    backoff = Backoff(1, 60, random.Random(seed))  # noqa: S311 - jitter
    delays = [backoff.next() for _ in range(tries)]
    assert all(0 <= delay <= 60 for delay in delays)
    assert all(delay >= 0.5 for delay in delays[1:])
