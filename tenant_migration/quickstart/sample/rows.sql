-- The rows, made on the server from pg_temp.allocation (seed, stream, table_name, tenant_number, tenant_id,
-- row_count); tenant_number is -1 and tenant_id NULL for rows that belong to nobody. All is plain arithmetic
-- on a row's number, so that a seed makes the same rows on every version of PostgreSQL. Rows lie in the order
-- of their time, with the tenants mixed as in life.

CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS
SELECT table_name,
       seed,
       tenant_number,
       tenant_id,
       row_number,
       draw,
       timestamptz '2019-01-01 00:00:00+00' + make_interval(secs => draw % 157766400) AS created_at  -- 5 years
FROM (
    SELECT a.*,
           n AS row_number,
           ((n + 1)::bigint * 48271 + tenant_number * 69621 + stream * 16807 + seed * 40692) % 2147483647
               * 48271 % 2147483647 AS draw
    FROM pg_temp.allocation AS a, generate_series(0, a.row_count - 1) AS n
) AS drawn;
ANALYZE pg_temp.numbered;

CREATE FUNCTION pg_temp.profile_id(seed integer, tenant_number integer, row_number bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN md5('profile/' || seed || '/' || tenant_number || '/' || row_number)::uuid;

CREATE FUNCTION pg_temp.pick(draw bigint, VARIADIC choices text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN choices[1 + draw % cardinality(choices)];

INSERT INTO profiles
SELECT pg_temp.profile_id(seed, tenant_number, row_number),
       tenant_id,
       'member' || tenant_number || '.' || row_number || '@members.example',
       pg_temp.pick(draw, 'Ana', 'Bram', 'Chidi', 'Dora', 'Emre', 'Fatima', 'Goran', 'Hana', 'Ines', 'Jonas',
                    'Keiko', 'Lars', 'Maren')
           || ' ' || pg_temp.pick(draw / 13, 'Abiola', 'Bouchard', 'Castillo', 'Dubois', 'Eriksen', 'Fraser',
                                  'Gagnon', 'Hughes', 'Ivanova', 'Jansen', 'O''Neill'),
       CASE WHEN tenant_id = 'platform-system' THEN 'service'
            ELSE pg_temp.pick(draw / 143, 'member', 'member', 'member', 'member', 'steward', 'officer') END,
       (created_at - make_interval(days => (draw % 4000)::integer))::date,
       22 + draw % 4300 / 100.0,
       jsonb_build_object('language', pg_temp.pick(draw / 3, 'en', 'en', 'fr'), 'newsletter', draw % 2 = 0),
       created_at,
       created_at + make_interval(days => (draw % 90)::integer)
FROM pg_temp.numbered AS n
WHERE table_name = 'profiles'
ORDER BY n.created_at, n.tenant_number, n.row_number;

-- A claim is of a member of its own tenant, but for the first claim of the five largest tenants: those members
-- are gone.
CREATE TEMPORARY TABLE claim_keys ON COMMIT DROP AS
SELECT n.*,
       row_number() OVER (ORDER BY n.created_at, n.tenant_number, n.row_number) AS id,
       p.row_count AS profile_count
FROM pg_temp.numbered AS n
JOIN pg_temp.allocation AS p ON p.table_name = 'profiles' AND p.tenant_number = n.tenant_number
WHERE n.table_name = 'claims';

INSERT INTO claims
SELECT id,
       tenant_id,
       CASE WHEN row_number = 0 AND tenant_number < 5 THEN md5('gone/' || seed || '/' || tenant_number)::uuid
            ELSE pg_temp.profile_id(seed, tenant_number, draw % profile_count) END,
       'CLM-' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY') || '-' || lpad(row_number::text, 7, '0'),
       pg_temp.pick(draw / 5, 'open', 'in_review', 'arbitration', 'settled', 'settled', 'closed'),
       pg_temp.pick(draw / 7, 'Unpaid overtime', 'Unjust dismissal', 'Unsafe work site', 'Wage scale dispute',
                    'Denied leave', 'Scheduling violation', 'Harassment complaint'),
       'Reported by the member; hearing room ' || draw % 40 || ', file ' || lpad(draw::text, 10, '0') || '.',
       100 + draw % 4800000 / 100.0,
       (created_at - make_interval(days => (draw % 60)::integer))::date,
       CASE WHEN draw / 5 % 6 >= 3 THEN created_at + make_interval(days => (30 + draw % 300)::integer) END,
       created_at,
       created_at + make_interval(days => (draw % 120)::integer)
FROM pg_temp.claim_keys
ORDER BY id;
SELECT setval(pg_get_serial_sequence('claims', 'id'), max(id)) FROM claims;

INSERT INTO documents (tenant_id, claim_id, uploaded_by, file_name, content_type, size_bytes, sha256, tags,
                       created_at, updated_at)
SELECT n.tenant_id,
       c.id,
       pg_temp.profile_id(n.seed, n.tenant_number, n.draw / 3 % c.profile_count),
       pg_temp.pick(n.draw, 'payslip', 'contract', 'witness-statement', 'photo', 'medical-note', 'minutes')
           || '-' || n.row_number || '.pdf',
       pg_temp.pick(n.draw / 11, 'application/pdf', 'application/pdf', 'image/jpeg', 'text/plain'),
       2048 + n.draw % 9000000,
       decode(md5(n.draw::text) || md5(n.row_number::text), 'hex'),
       CASE WHEN n.draw % 3 = 0 THEN ARRAY['evidence'] WHEN n.draw % 7 = 0 THEN ARRAY['evidence', 'sealed']
            ELSE '{}'::text[] END,
       n.created_at,
       n.created_at
FROM pg_temp.numbered AS n
JOIN pg_temp.allocation AS a ON a.table_name = 'claims' AND a.tenant_number = n.tenant_number
JOIN pg_temp.claim_keys AS c ON c.tenant_number = n.tenant_number AND c.row_number = n.draw % a.row_count
WHERE n.table_name = 'documents'
ORDER BY n.created_at, n.tenant_number, n.row_number;

INSERT INTO precedents
SELECT md5('precedent/' || seed || '/' || tenant_number || '/' || row_number)::uuid,
       tenant_id,
       'Re ' || pg_temp.pick(draw, 'Harbour Freight', 'Meridian Mills', 'St. Clair Hospital', 'Polar Airways',
                             'Cedar School Board', 'Granite Quarries'),
       to_char(created_at AT TIME ZONE 'UTC', 'YYYY') || ' ARB ' || lpad((draw % 10000)::text, 4, '0'),
       created_at::date,
       pg_temp.pick(draw / 5, 'upheld', 'denied', 'upheld in part', 'settled'),
       'The board considered the notice period, the conduct of both parties and earlier awards on article '
           || draw % 60 || '.',
       created_at,
       created_at
FROM pg_temp.numbered AS n
WHERE table_name = 'precedents'
ORDER BY n.created_at, n.tenant_number, n.row_number;

INSERT INTO clause_library (tenant_id, clause_type, title, body, language, created_at, updated_at)
SELECT tenant_id,
       pg_temp.pick(draw, 'wages', 'hours', 'safety', 'seniority', 'leave', 'discipline'),
       'Clause ' || row_number || pg_temp.pick(draw / 6, ' (standard)', ' (negotiated)', ' (model)'),
       'The employer shall give no less than ' || 1 + draw % 30 || ' days of notice before any change under '
           || 'this article, and shall consult the local before it is posted.',
       pg_temp.pick(draw / 18, 'en', 'en', 'fr'),
       created_at,
       created_at
FROM pg_temp.numbered AS n
WHERE table_name = 'clause_library'
ORDER BY n.created_at, n.tenant_number, n.row_number;

INSERT INTO certification_applications (tenant_id, employer_name, bargaining_unit, unit_size, status, filed_on,
                                        created_at, updated_at)
SELECT tenant_id,
       pg_temp.pick(draw, 'Meridian Mills', 'Polar Airways', 'Cedar School Board', 'Granite Quarries',
                    'Lakeside Logistics', 'Borealis Studios') || ' ' || row_number,
       pg_temp.pick(draw / 6, 'all employees', 'production staff', 'office and clerical', 'drivers'),
       5 + (draw % 900)::integer,
       pg_temp.pick(draw / 24, 'filed', 'under review', 'certified', 'dismissed'),
       created_at::date,
       created_at,
       created_at
FROM pg_temp.numbered AS n
WHERE table_name = 'certification_applications'
ORDER BY n.created_at, n.tenant_number, n.row_number;

INSERT INTO grievances (tenant_id, filed_by, claim_id, step, article, summary, outcome, filed_on, created_at,
                        updated_at)
SELECT n.tenant_id,
       pg_temp.profile_id(n.seed, n.tenant_number, n.draw / 3 % c.profile_count),
       CASE WHEN n.draw % 4 <> 0 THEN c.id END,
       1 + (n.draw % 4)::smallint,
       'Article ' || 1 + n.draw % 60,
       pg_temp.pick(n.draw / 4, 'Overtime was not offered by seniority', 'Discipline without a hearing',
                    'Posting was not displayed', 'Safety equipment was refused', 'Pay scale was misapplied'),
       CASE WHEN n.draw % 3 = 0 THEN pg_temp.pick(n.draw / 9, 'granted', 'withdrawn', 'denied') END,
       n.created_at::date,
       n.created_at,
       n.created_at + make_interval(days => (n.draw % 45)::integer)
FROM pg_temp.numbered AS n
JOIN pg_temp.allocation AS a ON a.table_name = 'claims' AND a.tenant_number = n.tenant_number
JOIN pg_temp.claim_keys AS c ON c.tenant_number = n.tenant_number AND c.row_number = n.draw % a.row_count
WHERE n.table_name = 'grievances'
ORDER BY n.created_at, n.tenant_number, n.row_number;

INSERT INTO strike_votes (tenant_id, question, ballots_cast, ballots_for, voted_on, created_at, updated_at)
SELECT tenant_id,
       'Do you authorise ' || pg_temp.pick(draw, 'a strike', 'a rotating strike', 'an overtime ban')
           || ' in round ' || row_number || '?',
       20 + (draw % 3000)::integer,
       (20 + draw % 3000)::integer * (draw / 3000 % 101)::integer / 100,
       created_at::date,
       created_at,
       created_at
FROM pg_temp.numbered AS n
WHERE table_name = 'strike_votes'
ORDER BY n.created_at, n.tenant_number, n.row_number;
