-- Whether the sample is migrated, asked of the rows themselves: nothing of tenant_migration's own is read but
-- the mapping that was imported.
SELECT count(*) AS rows,
       count(*) FILTER (WHERE row.organization_id = mapping.organization_id) AS as_mapped,
       count(*) FILTER (WHERE mapping.tenant_id IS NOT NULL
                          AND row.organization_id IS DISTINCT FROM mapping.organization_id) AS wrong_or_missing,
       count(*) FILTER (WHERE row.tenant_id = 'platform-system' AND row.organization_id IS NULL) AS allowed,
       count(*) FILTER (WHERE row.tenant_id IS NULL AND row.organization_id IS NULL) AS shared,
       count(*) FILTER (WHERE mapping.tenant_id IS NULL AND row.organization_id IS NOT NULL) AS invented
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
LEFT JOIN tenant_org_mappings AS mapping USING (tenant_id)
