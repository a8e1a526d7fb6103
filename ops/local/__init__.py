"""The embedded AWS on this machine: start it, stop it, and serve the page."""
