"""What tests, in rooms; a room imports only from those named before it: schedule, compare, memory,
explore, report, shrink, campaign, live, cli."""
