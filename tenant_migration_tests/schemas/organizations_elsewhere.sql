-- Organizations in another schema, under other names, with rows and many columns; a unique that is no primary key.
CREATE SCHEMA directory;
CREATE TABLE directory."Orgs" (
    number    int PRIMARY KEY,
    "orgId"   uuid NOT NULL UNIQUE,
    "partOf"  uuid REFERENCES directory."Orgs" ("orgId"),
    handle    text,
    title     text NOT NULL,
    tenant_id text, -- a column of the key's name does not make the organizations a managed table
    c1 int, c2 int, c3 int, c4 int, c5 int, c6 int, c7 int, c8 int, c9 int, c10 int, c11 int, c12 int
);
CREATE TABLE directory.tickets (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO directory."Orgs" (number, "orgId", "partOf", handle, title) VALUES
    (1, 'a0000000-0000-4000-8000-000000000001', NULL, 'acme', 'Acme'),
    (2, 'a0000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000001', 'globex', 'Globex');
INSERT INTO directory.tickets VALUES (1, 'acme'), (2, 'globex');
