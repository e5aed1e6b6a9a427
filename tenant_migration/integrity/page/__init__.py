"""The report as one page for a browser: no script, nothing loaded from anywhere, every value escaped.

Belongs here: how the JSON report looks. It shows keys and counts, never what a row holds; what is not in the
report is not here.
"""
