"""The event-sourced counter: everything that ships to Lambda besides `app.py`."""

__version__ = "1.0.0"
