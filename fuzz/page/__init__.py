"""A campaign or an exploration as one HTML page."""
