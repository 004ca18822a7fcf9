-- Where a deployment serves: what is restored takes that port while another slot has the pinned one.
ALTER TABLE deployments ADD COLUMN port INTEGER;
