"""Administration from outside the rooms: a table of operations, provisioning API and console.

The table is `operations.py`; the API and the console call it through `dispatch.py`.
"""
