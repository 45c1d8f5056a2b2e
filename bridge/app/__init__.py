"""The composition root: builds every part from the config, starts and stops them in order."""
