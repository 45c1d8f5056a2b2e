"""All tests, and the code that several kinds of tests share."""

import pytest

# Rewrite the assertions of the shared modules too, so that pytest explains their failures.
pytest.register_assert_rewrite("tests.support")
