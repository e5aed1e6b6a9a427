"""`python -m tenant_migration.cli`: the command line where its script is not on the path."""

from tenant_migration.cli.main import main

if __name__ == "__main__":
    main()
