"""What a reviewer discusses: divergences by their cause in the variants' functions."""
