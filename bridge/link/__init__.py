"""The WebChat side: login, socket, upload and fetch, for as many rooms as there are.

`links.Links` is the `LinkPort` of one server; `settings` has what it is given, and the small ports
that the composition root adapts.
"""
