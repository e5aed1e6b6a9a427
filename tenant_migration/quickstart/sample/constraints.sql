-- Keys, indexes and references, once the rows are there. claims -> profiles was added NOT VALID, as one does
-- on a large table, and nobody ever validated it: five claims refer to members who are gone.

ALTER TABLE profiles ADD PRIMARY KEY (id);
ALTER TABLE claims ADD PRIMARY KEY (id);
ALTER TABLE documents ADD PRIMARY KEY (id);
ALTER TABLE precedents ADD PRIMARY KEY (id);
ALTER TABLE clause_library ADD PRIMARY KEY (id);
ALTER TABLE certification_applications ADD PRIMARY KEY (id);
ALTER TABLE grievances ADD PRIMARY KEY (id);
ALTER TABLE strike_votes ADD PRIMARY KEY (id);

CREATE INDEX profiles_tenant_id_idx ON profiles (tenant_id);
CREATE UNIQUE INDEX claims_tenant_id_claim_number_key ON claims (tenant_id, claim_number);
CREATE INDEX documents_tenant_id_idx ON documents (tenant_id);
CREATE INDEX precedents_tenant_id_idx ON precedents (tenant_id);
CREATE INDEX clause_library_tenant_id_idx ON clause_library (tenant_id);
CREATE INDEX certification_applications_tenant_id_idx ON certification_applications (tenant_id);
CREATE INDEX grievances_tenant_id_idx ON grievances (tenant_id);
CREATE INDEX strike_votes_tenant_id_idx ON strike_votes (tenant_id);
CREATE INDEX claims_user_id_idx ON claims (user_id);
CREATE INDEX documents_claim_id_idx ON documents (claim_id);

ALTER TABLE claims ADD CONSTRAINT claims_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES profiles NOT VALID;
ALTER TABLE documents ADD CONSTRAINT documents_claim_id_fkey FOREIGN KEY (claim_id) REFERENCES claims;
ALTER TABLE documents ADD CONSTRAINT documents_uploaded_by_fkey
    FOREIGN KEY (uploaded_by) REFERENCES profiles;
ALTER TABLE grievances ADD CONSTRAINT grievances_filed_by_fkey FOREIGN KEY (filed_by) REFERENCES profiles;
ALTER TABLE grievances ADD CONSTRAINT grievances_claim_id_fkey FOREIGN KEY (claim_id) REFERENCES claims;
