from bridge.link.door import Health


class Clock:
    def __init__(self) -> None:
        self.ms = 1000

    def now(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


def test_health_counts_from_the_first_failure_in_a_row() -> None:
    clock = Clock()
    health = Health(clock)
    assert health.unreachable_for() == 0
    health.missed()
    clock.ms += 20_000
    health.missed()
    clock.ms += 10_000
    assert health.unreachable_for() == 30.0
    health.reached()
    clock.ms += 5_000
    assert health.unreachable_for() == 0
    health.missed()
    clock.ms += 1_000
    assert health.unreachable_for() == 1.0
