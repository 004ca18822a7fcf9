-- The journal only grows: a restoration that fails as the one before did is kept, and counted on the first of them.
ALTER TABLE deployments ADD COLUMN repeat_of INTEGER REFERENCES deployments(id);
ALTER TABLE deployments ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;  -- how many entries name this one
ALTER TABLE deployments ADD COLUMN repeated_at REAL;                    -- when the last of them ended
ALTER TABLE deployments ADD COLUMN repeat_reason TEXT;                  -- and why
CREATE INDEX IF NOT EXISTS deployments_without_repeats ON deployments(environment, model, id) WHERE repeat_of IS NULL;
