"""Who runs the embedded server."""

from __future__ import annotations

import os
import pwd

import pytest

from tenant_migration.errors import Refused
from tenant_migration.quickstart import server_user


def test_an_ordinary_user_runs_it_himself(monkeypatch):
    monkeypatch.setattr(server_user, "is_root", lambda: False)
    user = server_user.server_user()
    assert user.is_ourselves
    assert user.user_id == os.geteuid()


def test_a_user_without_a_name_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(server_user, "is_root", lambda: False)
    monkeypatch.setattr(server_user.os, "geteuid", lambda: 2_000_123_456)
    with pytest.raises(Refused, match=r"2000123456 has no entry.*TENANT_MIGRATION_DATABASE_URL"):
        server_user.server_user()


def test_root_without_useradd_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(server_user, "is_root", lambda: True)
    monkeypatch.setattr(server_user, "SERVER_USER", "no-such-user-here")
    monkeypatch.setattr(server_user.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Refused, match="no useradd to make the user no-such-user-here"):
        server_user.server_user()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a user")
def test_root_s_server_user_has_no_password_and_no_shell_when_we_make_it(monkeypatch):
    name = "tm-test-user"
    monkeypatch.setattr(server_user, "SERVER_USER", name)
    try:
        made = server_user.server_user()
        assert made.user_id == pwd.getpwnam(name).pw_uid != 0
        assert pwd.getpwnam(name).pw_shell.endswith("nologin")
        assert server_user.server_user() == made
    finally:
        os.system(f"userdel {name}")  # noqa: S605
