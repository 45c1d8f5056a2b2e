"""Conversion and inspection of the files, locations and HTML that pass through the bridge.

All input is untrusted: size, depth and length are bounded, and unreadable input is reported as
such, never guessed at.
"""
