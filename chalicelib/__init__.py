"""The event-sourced counter: everything that ships to Lambda except `app.py`."""

__version__ = "1.0.0"
