"""What is fuzzed: schedules of steps, as text and as bytes."""
