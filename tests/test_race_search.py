"""The search for messages that are lost: where it looks, and what it takes for known."""
