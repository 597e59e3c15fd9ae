"""Each step computed once, and then remembered."""
