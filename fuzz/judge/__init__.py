"""What the manuals allow: an independent monitor that knows schedules and observations only."""
