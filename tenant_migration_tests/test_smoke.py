def test_install_sql_loads(connection, server):
    assert connection.execute("select current_user, rolsuper from pg_roles where rolname=current_user").fetchone() == ("app_owner", False)
