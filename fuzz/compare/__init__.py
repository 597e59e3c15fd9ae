"""Where variants part, and why."""
