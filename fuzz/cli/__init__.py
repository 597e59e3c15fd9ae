"""The commands: the only layer that prints, reads the environment and exits."""
