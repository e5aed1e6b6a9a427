"""Dagster's UI on the sample, in a real browser: `pip install '.[test,ui]'`, a Chromium, `pytest -m ui`."""
