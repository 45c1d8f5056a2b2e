"""Fuzzing of all code that reads input from outside: no crash, no broken invariant, no growth.

Four targets, each a function that takes bytes and raises if an invariant is broken:

* `codec`: frames and HTTP bodies of a WebChat server, and the bridge's commands in every dialect;
* `markup`: HTML from agents and from customers;
* `media`: pictures, sound, video, file names and coordinates;
* `transactions`: transactions of a homeserver, and the interpretation of their events.

Two drivers: `generated` (hypothesis, which knows the structure of the inputs) and `guided`
(atheris, guided by the branches that an input reaches). `make fuzz MINUTES=10` runs all eight
combinations and prints figures; `test_targets` is a run of seconds.
"""
