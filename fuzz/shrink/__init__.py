"""The smallest schedule that shows the same."""
