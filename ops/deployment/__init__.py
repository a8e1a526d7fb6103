"""Provision, deploy and destroy a stage, and publish its page."""
