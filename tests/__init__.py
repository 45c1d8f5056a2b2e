"""Tests of every kind, and what they share."""

import pytest

# What the shared modules assert is explained on failure, as it is in the tests themselves.
pytest.register_assert_rewrite("tests.support")
