"""The configs of the launchers and sweepers; a user's conf/ shadows them."""
