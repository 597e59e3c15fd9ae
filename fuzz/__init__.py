"""What tests: schedules, comparing, fuzzing, minimising and reporting."""
