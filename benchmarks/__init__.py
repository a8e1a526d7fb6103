"""Measurements that anyone can repeat. None of it ships."""
