"""What the engine builds in the application's schema: the organization column, its index, its foreign key.

Belongs here: creating and repairing those, registered before they are created (`created_objects`), with short
lock waits. What must stay out: dropping what is not registered; NOT NULL and unique twins (`finalize`).
"""
