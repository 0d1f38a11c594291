"""Trackers hold a copy of what a run writes anyway: its configuration, history, pictures, model and scores.

They follow the logs of the run folder from threads of their own, so that no outage of theirs reaches the training.
"""
