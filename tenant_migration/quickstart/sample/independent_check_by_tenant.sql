-- How many rows of the sample each tenant has, and how many of them have an organization; as
-- independent_check.sql, asked of the rows themselves.
SELECT tenant_id, count(*) AS rows, count(organization_id) AS with_organization
FROM (
    SELECT tenant_id, organization_id FROM profiles
    UNION ALL SELECT tenant_id, organization_id FROM claims
    UNION ALL SELECT tenant_id, organization_id FROM documents
    UNION ALL SELECT tenant_id, organization_id FROM precedents
    UNION ALL SELECT tenant_id, organization_id FROM clause_library
    UNION ALL SELECT tenant_id, organization_id FROM certification_applications
    UNION ALL SELECT tenant_id, organization_id FROM grievances
    UNION ALL SELECT tenant_id, organization_id FROM strike_votes
) AS row
WHERE tenant_id IS NOT NULL
GROUP BY tenant_id
ORDER BY tenant_id
