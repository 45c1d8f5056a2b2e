"""Administration from outside the rooms: a table of operations, provisioning API and console.

The table is `operations.py`; the API (`provisioning.py`) and the console (`pages.py`) call it.
"""
