"""Administration from outside the rooms: one table of operations, and the provisioning API.

The table is `operations.py`; whoever serves it (the API, the console) goes through `dispatch.py`.
"""
