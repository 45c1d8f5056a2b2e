"""A Matrix application service that carries rooms to an EliteCRM WebChat call centre."""

__version__ = "0.1.0"
