"""Which tables, in which order, by which strategy, with which hazards: the plan.

Belongs here: judgements over the catalog's facts, the plan's JSON, its storage and its printing. Must stay
out: anything that writes to the application's tables, and whether the data itself is right (`integrity`).
"""
