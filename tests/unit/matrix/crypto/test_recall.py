from __future__ import annotations

from bridge.matrix.crypto.vault import Recall


def test_the_longest_unused_goes_first() -> None:
    recall: Recall[str, int] = Recall(2)
    recall.put("a", 1)
    recall.put("b", 2)
    assert recall.get("a") == 1
    recall.put("c", 3)
    assert (recall.get("a"), recall.get("b"), recall.get("c")) == (1, None, 3)


def test_what_changed_while_it_was_asked_for_is_not_kept() -> None:
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
    recall.forget("never there")
