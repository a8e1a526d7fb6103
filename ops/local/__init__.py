"""Run the whole system on this machine: an embedded AWS, the stage `local` deployed on it, and the page."""
