from __future__ import annotations

from bridge.matrix.crypto.vault import Recall


def test_least_recently_used_value_is_evicted_first() -> None:
    recall: Recall[str, int] = Recall(2)
    with recall.fetching() as keep:
        keep("a", 1)
        keep("b", 2)
        assert recall.get("a") == 1
        keep("c", 3)
    assert (recall.get("a"), recall.get("b"), recall.get("c")) == (1, None, 3)


def test_value_forgotten_during_its_fetch_is_not_cached() -> None:
    recall: Recall[str, int] = Recall(9)
    with recall.fetching() as keep:
        recall.forget("a")
        keep("a", 1)
        keep("b", 2)
    assert (recall.get("a"), recall.get("b")) == (None, 2)
    with recall.fetching() as keep:
        recall.forget_all()
        keep("c", 3)
    assert (recall.get("b"), recall.get("c")) == (None, None)
    with recall.fetching() as keep:
        keep("d", 4)
        keep("e", 5)
        recall.forget_where(lambda key, value: (key, value) == ("d", 4))
        keep("f", 6)
    assert (recall.get("d"), recall.get("e"), recall.get("f")) == (None, 5, None)
    recall.forget("never there")


def test_equal_value_does_not_replace_the_cached_object() -> None:
    """So that a change can be detected by identity."""
    recall: Recall[str, list[int]] = Recall(9)
    answers = [[1, 2] for _ in range(3)]
    with recall.fetching() as one, recall.fetching() as other:
        assert one("a", answers[0]) is answers[0]
        assert other("a", answers[1]) is recall.get("a") is answers[0]
        assert other("a", [3]) == recall.get("a") == [3]
        recall.forget("a")
        assert other("a", answers[2]) is answers[2]
    assert recall.get("a") is None
