"""The embedded server, its folders, and the sample."""
