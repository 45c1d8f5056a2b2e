"""The WebChat side: login, socket, upload and fetch for all rooms.

`links.Links` implements `LinkPort` for one server; `settings` holds its settings, its detected
capabilities, and the small ports that the composition root implements.
"""
