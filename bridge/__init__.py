"""A Matrix application service that bridges rooms to an EliteCRM WebChat call centre."""

__version__ = "0.1.0"
