"""Inputs that nobody would write: what strangers send is read without falling over, or growing.

Four targets, each one function from bytes to nothing that fails when a promise is broken:

* `codec`: frames and HTTP bodies of a WebChat server, and our own commands in every dialect;
* `markup`: HTML from agents and from customers;
* `media`: pictures, sound, video, file names and coordinates;
* `transactions`: what a homeserver sends, down to what each event means.

Two drivers: `generated` (hypothesis, which knows what the inputs look like) and `guided` (atheris,
which does not, but sees which branches an input reaches). `make fuzz MINUTES=10` runs all eight and
prints figures; `test_targets` is the same in seconds, for every run of the tests.
"""
